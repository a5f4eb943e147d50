export * from './machine.ts'
export * from './tcb.ts'
export { fromPem, parseCertificate, toPem } from './x509.ts'
export type { ParsedCertificate } from './x509.ts'
