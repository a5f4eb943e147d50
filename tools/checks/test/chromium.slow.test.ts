/** The machine in a page: the example of `@cofferdam/machine` in Debian's Chromium, without a head. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bundleScript } from '../src/index.ts'

const example = join(import.meta.dirname, '../../../packages/machine/browser')
const cli = join(import.meta.dirname, '../../../apps/cofferdam/src/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'chromium-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs the command line; its output, or why there is none. */
const cofferdam = (...words: string[]): Promise<{ out: string } | { why: string }> =>
  new Promise((resolve) => {
    const program = ['--conditions=@cofferdam/source', cli, ...words]
    execFile(process.execPath, program, { timeout: 300_000 }, (error, out, complaint) => {
      resolve(error === null ? { out } : { why: complaint.trim() || error.message })
    })
  })

/** What keeps the test from running; undefined for nothing. */
const missing = async (): Promise<string | undefined> => {
  const { error } = spawnSync('chromium', ['--version'])
  if (error !== undefined) return `there is no chromium: ${error.message}`
  const fetched = await cofferdam('images', 'fetch', 'sid-cloud')
  if ('why' in fetched) return fetched.why
  const built = await cofferdam('images', 'initramfs', join(folder, 'initrd'))
  return 'why' in built ? built.why : undefined
}
const why = await missing()
if (why !== undefined) console.warn(`skipped: ${why}`)

/** Tells the server of the page's title and text; no part of the example. */
const reporter = `<script>setInterval(() => fetch('/report', { method: 'POST', body:
  JSON.stringify([document.title, document.getElementById('console').textContent]) }), 500)</script>`

interface Page {
  readonly title: string
  readonly text: string
}

/** Serves the example on the loopback address, until a title says that it is done. */
const serve = async (
  files: Readonly<Record<string, string | Uint8Array>>, done: (page: Page) => void,
): Promise<Server> => {
  const types: Readonly<Record<string, string>> = { js: 'text/javascript', '': 'text/html' }
  const server = createServer((request, response) => {
    if (request.url === '/report') {
      const pieces: Buffer[] = []
      request.on('data', (piece: Buffer) => pieces.push(piece)).on('end', () => {
        const [title = '', text = ''] = JSON.parse(Buffer.concat(pieces).toString()) as string[]
        response.end()
        if (title !== 'booting') done({ title, text })
      })
      return
    }
    const name = (request.url ?? '').slice(1)
    const file = files[name]
    response.writeHead(
      file === undefined ? 404 : 200,
      { 'content-type': types[/\w*$/.exec(name)?.[0] ?? ''] ?? 'application/octet-stream' },
    )
    response.end(file)
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  return server
}

describe.skipIf(why !== undefined)('the machine in Chromium', () => {
  it('boots Debian\'s kernel to the first line of its shell', { timeout: 900_000 }, async () => {
    const fetched = await cofferdam('images', 'fetch', 'sid-cloud')
    const kernel = /^\S+ \S+ (.*)$/m.exec('out' in fetched ? fetched.out : '')?.[1] ?? ''
    const [page, worker] = await Promise.all(['page.ts', 'worker.ts'].map((name) => bundleScript(join(example, name))))
    expect([...page?.problems ?? ['none'], ...worker?.problems ?? ['none']]).toEqual([])
    const index = readFileSync(join(example, 'index.html'), 'utf8')
    const files = {
      '': index + reporter, 'page.js': page?.code ?? '', 'worker.js': worker?.code ?? '',
      kernel: readFileSync(kernel), initrd: readFileSync(join(folder, 'initrd')),
    }
    let chromium: ReturnType<typeof spawn> | undefined
    let server: Server | undefined
    try {
      const shown = await new Promise<Page>((resolve, reject) => {
        serve(files, resolve).then((made) => {
          server = made
          const url = `http://127.0.0.1:${(made.address() as AddressInfo).port}/`
          const flags = [
            '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            `--user-data-dir=${folder}/profile`,
          ]
          chromium = spawn('chromium', [...flags, url], { stdio: 'ignore' })
          chromium.on('error', reject).on('exit', (code) => { reject(new Error(`chromium left with ${code}`)) })
        }, reject)
      })
      expect(shown.title).toBe('shell ready')
      expect(shown.text).toContain('Linux version')
      expect(shown.text).toMatch(/cofferdam: shell ready\r?\n/)
    } finally {
      chromium?.removeAllListeners('exit')
      chromium?.kill('SIGKILL')
      server?.closeAllConnections()
      server?.close()
    }
  })
})
