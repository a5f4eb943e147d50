import { Intercept3 } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import type { ProcessorSnapshot, SvmRun } from '../../src/index.ts'
import { createBare } from '../engine/bare.ts'
import { createBox, GUEST, HOST } from './box.ts'
import type { Box } from './box.ts'

const RAM = 2 ** 23

/** Counts, touches pages and pauses, by the filter until it exits. */
const program = `
  again: 48 ff c0 48 89 04 25 00 90 00 00   ; inc rax; mov [9000],rax
  48 8b 1c c5 00 d0 00 00                   ; mov rbx,[rax*8+d000]
  0f 31 48 01 c2 f3 90 75 [again:rel8]      ; rdtsc; add rdx,rax; pause; jne again
`
const guest = (): Box => {
  const box = createBox()
  box.intercept('intercept3', Intercept3.mask.PAUSE)
  box.setControl('pauseFilterCount', 5)
  box.setControl('tscOffset', 1000)
  box.program(program)
  return box
}

/** Another processor and memory that go on from where a box is. */
function copyOf({ bare }: Box): Box {
  const copy = createBox()
  const bytes = new Uint8Array(RAM)
  bare.memory.read(0, bytes)
  copy.bare.memory.write(0, bytes)
  copy.bare.processor.restore(structuredClone(bare.processor.snapshot()))
  return copy
}

/** The processor, but for translations: the copy's memory has frames behind zeros that nobody wrote. */
const stateOf = ({ bare }: Box) => ({ ...bare.processor.snapshot(), translations: null })

const runs = (box: Box): SvmRun[] => Array.from({ length: 12 }, () => box.run(9))

describe('a processor with SVM', () => {
  it('goes on from a snapshot as it was, with a guest that is resident and without one', () => {
    const box = guest()
    for (const instructions of [1, 4, 30, 13, 100, 1]) {
      box.run(instructions)
      const copy = copyOf(box)
      expect([copy.svm.inGuest, copy.svm.resident, copy.svm.gif])
        .toEqual([box.svm.inGuest, box.svm.resident, box.svm.gif])
      expect(runs(copy)).toEqual(runs(box))
      expect([copy.peek(GUEST.data, 8), copy.control('exitCode')])
        .toEqual([box.peek(GUEST.data, 8), box.control('exitCode')])
      expect(stateOf(copy)).toEqual(stateOf(box))
    }
    box.svm.kick()
    const copy = copyOf(box)
    expect([copy.svm.inGuest, copy.svm.resident]).toEqual([false, -1])
    expect(runs(copy)).toEqual(runs(box))
  })

  it('takes no snapshot of one without SVM, nor of another shape', () => {
    const { processor } = guest().bare
    const saved = processor.snapshot()
    const without = createBare({ width: 64, ramBytes: RAM }).processor.snapshot()
    expect(without.supervisor).toBeNull()
    expect(() => { processor.restore(without) }).toThrow('supervisor: expected what SVM knows of its guests')
    const box = guest()
    box.run(3)
    const { supervisor } = box.bare.processor.snapshot()
    const refused = (change: object): void => {
      const wrong: ProcessorSnapshot = { ...saved, supervisor: { ...supervisor, ...change } }
      expect(() => { processor.restore(wrong) }).toThrow(/^supervisor\./)
    }
    const resident = supervisor?.guest as object
    refused({ gif: 1 })
    refused({ tag: 7 })
    refused({ cached: new Int32Array(3) })
    refused({ notes: { soft: 0n, softRip: 1n << 70n, pauses: 0, lastPause: 0n } })
    refused({ guest: { ...resident, vmcb: HOST.vmcb + 1 } })
    refused({ guest: { ...resident, vmcb: 2 ** 45 } })
    refused({ guest: { ...resident, vintr: { tpr: 0 } } })
  })
})
