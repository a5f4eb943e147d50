/**
 * A terminal of sorts: shows what the guest in the worker sends, and sends keys to it. The title says how far it is.
 * The machine runs in a worker, since a page may not compile large modules at once, and should go on answering.
 */
import type { FromWorker, ToWorker } from './worker.ts'

const out = document.getElementById('console') as HTMLPreElement
const worker = new Worker('worker.js', { type: 'module' })
const send = (message: ToWorker): void => { worker.postMessage(message) }

worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
  if (data.kind === 'text') out.append(data.text)
  else document.title = data.title
}
worker.onerror = ({ message }) => { document.title = `failed: ${message}` }

document.onkeydown = ({ key }) => {
  const text = key === 'Enter' ? '\r' : key === 'Backspace' ? '\x7f' : key
  if (text.length === 1) send({ kind: 'keys', text })
}

const load = async (name: string): Promise<Uint8Array> => {
  const response = await fetch(name)
  if (!response.ok) throw new Error(`${name}: ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}
const [kernel, initrd] = await Promise.all([load('kernel'), load('initrd')])
send({ kind: 'boot', kernel, initrd })
