/** Boots a kernel in a worker. */
import { createMachine, createSerialStreams, runMachine } from '@cofferdam/machine'

/** What the page says. */
export type ToWorker =
  | { readonly kind: 'boot', readonly kernel: Uint8Array, readonly initrd: Uint8Array }
  | { readonly kind: 'keys', readonly text: string }
/** What the page hears. */
export type FromWorker =
  | { readonly kind: 'text', readonly text: string }
  | { readonly kind: 'title', readonly title: string }

const say = (message: FromWorker): void => { postMessage(message) }
const serial = createSerialStreams()
const keys = serial.writable.getWriter()

async function show(): Promise<void> {
  const reader = serial.readable.pipeThrough(new TextDecoderStream()).getReader()
  let seen = ''
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    say({ kind: 'text', text: next.value })
    seen = (seen + next.value).slice(-1000)
    if (seen.includes('cofferdam: shell ready')) say({ kind: 'title', title: 'shell ready' })
  }
}

async function boot(kernel: Uint8Array, initrd: Uint8Array): Promise<void> {
  const machine = createMachine({
    kernel: { name: 'kernel', bytes: kernel }, initrd: { name: 'initrd', bytes: initrd },
    append: 'console=ttyS0,115200 panic=-1', memory: 512 * 2 ** 20, vcpus: 1, cpu: 'intel', engine: 'auto', seed: 1,
    onSerial: serial.onSerial,
  })
  for (;;) {
    const { reason } = await runMachine(machine, { serial, until: (result) => result.reason === 'idle' })
    if (reason !== 'idle') {
      say({ kind: 'title', title: reason })
      return
    }
    // The guest waits: there is no hurry any more.
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
}

onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === 'keys') {
    void keys.write(new TextEncoder().encode(data.text))
    return
  }
  const failed = (error: unknown): void => { say({ kind: 'title', title: `failed: ${String(error)}` }) }
  show().catch(failed)
  boot(data.kernel, data.initrd).catch(failed)
}
