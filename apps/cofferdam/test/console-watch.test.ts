import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createConsoleWatch, plain } from '../src/run/console-watch.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe('the console watch', () => {
  it('sees the same in one piece and byte by byte', () => {
    const kernel = '[    0.1] a\r\n[    0.2] Run /init as init process\r\n'
    const text = `${kernel}\x1b[1mcofferdam: shell ready\x1b[0m\r\ncofferdam:~# \x1b[6n`
    const whole = createConsoleWatch({ until: 'init process' })
    whole.see(bytes(text))
    const pieces = createConsoleWatch({ until: 'init process' })
    for (const byte of bytes(text)) pieces.see(Uint8Array.of(byte))
    for (const watch of [whole, pieces]) {
      expect(watch).toMatchObject({ untilSeen: true, shells: 1, promptShown: true, panicked: false })
      expect(watch.lastLines().at(-1)).toBe('cofferdam:~# ')
    }
  })

  it('finds the --until text wherever the pieces part it', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 8 }), fc.array(fc.nat(9)), (until, cuts) => {
        const watch = createConsoleWatch({ until })
        const text = bytes(`before${until}after`)
        let at = 0
        for (const cut of cuts) {
          watch.see(text.subarray(at, at + cut))
          at += cut
        }
        watch.see(text.subarray(at))
        expect(watch.untilSeen).toBe(true)
      }),
    )
  })

  it('takes a panic for one only at the start of a line', () => {
    const talk = createConsoleWatch()
    talk.see(bytes('# echo Kernel panic - not syncing\n'))
    expect(talk.panicked).toBe(false)
    const panic = createConsoleWatch()
    panic.see(bytes('[    1.315945][    T1] Kernel panic - not syncing: no init\n'))
    expect(panic).toMatchObject({ panicked: true, panicEnded: false, panicReason: 'no init' })
  })

  it('reports each milestone once, in order', () => {
    const reached: string[] = []
    const watch = createConsoleWatch({ onMilestone: (milestone) => reached.push(milestone) })
    watch.see(bytes('[ 0.0] Linux\n[ 0.1] more\n[ 0.2] Run /init as init process\n'))
    watch.see(bytes('cofferdam: shell ready\ncofferdam: shell ready\n'))
    expect(reached).toEqual(['kernel', 'init', 'shell'])
    expect(watch.shells).toBe(2)
  })

  it('keeps no more than the last lines, and no endless line', () => {
    const watch = createConsoleWatch()
    watch.see(bytes('x'.repeat(100_000)))
    watch.see(bytes('\nline\n'.repeat(1000)))
    expect(watch.lastLines().length).toBeLessThanOrEqual(12)
  })
})

describe('plain', () => {
  it('takes colours, cursor movement, titles and carriage returns away', () => {
    expect(plain('\x1b[1;31mred\x1b[0m\x1b]0;title\x07\x1bc\r\tx\x07')).toBe('red\tx')
  })
})
