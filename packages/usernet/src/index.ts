export {
  createGateway, GATEWAY_NAME, type Gateway, type GatewayOptions, type NetClock, type NetTimer,
} from './gateway.ts'
export { GatewayError } from './saved.ts'
export { formatIpv4, formatMac, parseIpv4, parseMac } from './addresses.ts'
export { ECHO_PORT, echoService } from './services.ts'
export type { TcpConnection, TcpHandlers, TcpService } from './tcp/stack.ts'
export type { CloseReason } from './tcp/tcb.ts'
