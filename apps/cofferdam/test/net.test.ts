import { connect, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { Gateway } from '../src/machine-port.ts'
import { openForwards, type Forwards } from '../src/net/forwards.ts'
import { parseForward, parseNet } from '../src/net/parse-net.ts'

describe('--net', () => {
  it('is user, with the address of the card if that is wanted', () => {
    expect([parseNet('user'), parseNet('user,mac=52:54:00:AB:cd:ef')]).toEqual([{}, { mac: '52:54:00:AB:cd:ef' }])
  })

  it.each([
    '', 'tap', 'user,', 'user,mac=', 'user,mac=1:2:3', 'user,mac=01:00:00:00:00:00', 'user,mac=52:54:00:00:00:01,x',
  ])('refuses %j', (text) => {
    expect(() => parseNet(text)).toThrow(/expected/)
  })
})

describe('--forward', () => {
  it('is a loopback address, a port of it, and a port of the guest', () => {
    const first = parseForward('127.0.0.1:8080:80')
    expect(parseForward('[::1]:0:22', first)).toEqual([
      { host: '127.0.0.1', port: 8080, guestPort: 80 }, { host: '::1', port: 0, guestPort: 22 },
    ])
  })

  it.each(['0.0.0.0:80:80', '192.168.1.2:80:80', '[::]:80:80', '128.0.0.1:1:1', 'localhost:80:80', ':80:80'])(
    'refuses %j, which would let others in or may', (text) => {
      expect(() => parseForward(text)).toThrow(/loopback/)
    },
  )

  it.each(['80:80', '127.0.0.1:80', '127.0.0.1:65536:80', '127.0.0.1:80:0', '127.0.0.1:a:b', '127.0.0.1:1:2:3'])(
    'refuses %j', (text) => {
      expect(() => parseForward(text)).toThrow(/ADDRESS:PORT:GUESTPORT/)
    },
  )
})

type Open = Parameters<Gateway['connect']>[1]

/** A gateway whose guest is a test: it takes what comes up to a limit, and says what a test wants. */
const createFakeGateway = (limit = Infinity) => {
  const log: string[] = []
  let handlers: ReturnType<Open> | undefined
  let received = ''
  let toSend = new Uint8Array(0)
  let hasEnded = false
  let room = limit
  const connection: Parameters<Open>[0] = {
    localPort: 1, remote: 2, remotePort: 3,
    readable: () => toSend.length,
    read(most) {
      const part = toSend.slice(0, most)
      toSend = toSend.slice(part.length)
      return part
    },
    ended: () => hasEnded && toSend.length === 0,
    room: () => room,
    write(bytes) {
      const taken = bytes.subarray(0, room)
      room -= taken.length
      received += new TextDecoder('latin1').decode(taken)
      return taken.length
    },
    end: () => log.push('end'),
    abort: () => log.push('abort'),
  }
  const gateway = {
    connect(port: number, open: Open) {
      log.push(`connect ${port}`)
      handlers = open(connection)
      return connection
    },
  } as unknown as Gateway
  return {
    gateway, log, received: () => received,
    send(bytes: string) {
      toSend = Uint8Array.from(bytes, (char) => char.charCodeAt(0))
      handlers?.onReadable()
    },
    endGuest() {
      hasEnded = true
      handlers?.onReadable()
    },
    giveRoom(more: number) {
      room += more
      handlers?.onWritable()
    },
    close: (reason: 'closed' | 'reset') => handlers?.onClosed?.(reason),
  }
}

const until = async (done: () => boolean): Promise<void> => {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 2))
}

describe('forwarded connections', () => {
  let forwards: Forwards | undefined
  afterEach(() => forwards?.close())

  const start = async (limit?: number) => {
    const said: string[] = []
    forwards = await openForwards([{ host: '127.0.0.1', port: 0, guestPort: 22 }], (text) => said.push(text))
    const port = Number(/port (\d+) of 127\.0\.0\.1/.exec(said[0] ?? '')?.[1])
    const guest = createFakeGateway(limit)
    forwards.attach(guest.gateway)
    const dial = (): Socket => connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined)
    return { forwards, guest, dial, port }
  }

  it('bring bytes to the guest and back, and each side may end before the other', async () => {
    const { forwards: open, guest, dial } = await start()
    let woken = 0
    open.onStir(() => { woken += 1 })
    const socket = dial()
    let got = ''
    let ended = false
    socket.on('data', (bytes: Buffer) => { got += bytes.toString('latin1') }).on('end', () => { ended = true })
    socket.end('to the guest')
    await until(() => guest.log.includes('end'))
    expect([guest.received(), guest.log]).toEqual(['to the guest', ['connect 22', 'end']])
    expect([open.stirred(), open.stirred()]).toEqual([true, false])
    expect(woken).toBeGreaterThan(0)
    guest.send('from the guest')
    guest.endGuest()
    guest.close('closed')
    await until(() => ended)
    expect(got).toBe('from the guest')
  })

  it('wait for a guest that does not read', async () => {
    const { guest, dial } = await start(1000)
    const socket = dial()
    socket.end('x'.repeat(5000))
    await until(() => guest.received().length === 1000)
    expect(guest.log).toEqual(['connect 22'])
    guest.giveRoom(3000)
    guest.giveRoom(10_000)
    await until(() => guest.log.includes('end'))
    expect(guest.received().length).toBe(5000)
  })

  it('are cut when the guest resets them, and reset the guest when they are cut', async () => {
    const { guest, dial } = await start()
    const first = dial().resume()
    let closed = false
    first.on('close', () => { closed = true })
    await until(() => guest.log.length === 1)
    guest.close('reset')
    await until(() => closed)
    guest.log.length = 0
    const second = dial()
    second.write('x')
    await until(() => guest.received() === 'x')
    second.resetAndDestroy()
    await until(() => guest.log.includes('abort'))
  })

  it('are cut when another machine takes over', async () => {
    const { forwards: open, guest, dial } = await start()
    const socket = dial()
    let closed = false
    socket.on('close', () => { closed = true }).on('end', () => { socket.end() }).resume()
    await until(() => guest.log.length === 1)
    open.attach(createFakeGateway().gateway)
    await until(() => closed)
  })

  it('need a port that is free', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await until(() => server.listening)
    const { port } = server.address() as { port: number }
    const opening = openForwards([{ host: '127.0.0.1', port, guestPort: 1 }], () => undefined)
    await expect(opening).rejects.toThrow(`forward 127.0.0.1:${port}`)
    server.close()
  })
})
