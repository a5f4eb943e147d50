import { SvsmCoreCall, SvsmResult, SvsmVtpmCall } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { PAGE, RAM, SCRATCH, startedBox } from './fixture.ts'

const R = SvsmResult
const VTPM = 2

/** TPM2_GetRandom of 8 bytes. */
const COMMAND = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8]

/** A box with a TPM that says what it was told. */
function tpmBox(answer: (command: Uint8Array) => Uint8Array | null = (command) => command) {
  const told: number[][] = []
  const box = startedBox({
    svsm: {
      vtpm: {
        command(command) {
          told.push([...command])
          return answer(command)
        },
      },
    },
  })
  const send = (fields: { command?: number, locality?: number, size?: number, at?: number } = {}, bytes = COMMAND) => {
    const { at = SCRATCH } = fields
    box.own(Math.floor(at / PAGE) * PAGE, at % PAGE === 0 ? 1 : 2)
    const request = new Uint8Array(9 + bytes.length)
    const view = new DataView(request.buffer)
    view.setUint32(0, fields.command ?? 8, true)
    view.setUint8(4, fields.locality ?? 0)
    view.setUint32(5, fields.size ?? bytes.length, true)
    request.set(bytes, 9)
    request.forEach((byte, i) => { box.at(at + i).bytes[(at + i) % PAGE] = byte })
    return box.call(VTPM, SvsmVtpmCall.CMD, { rcx: BigInt(at) })
  }
  const response = (at = SCRATCH): number[] => {
    const bytes = box.at(at).bytes.subarray(at % PAGE)
    return [...bytes.subarray(4, 4 + bytes[0] + 256 * bytes[1])]
  }
  return { ...box, told, send, response }
}

describe('the vTPM protocol', () => {
  it('is offered where there is a TPM', () => {
    const rcx = BigInt(VTPM) << 32n | 1n
    expect(tpmBox().call(0, SvsmCoreCall.QUERY_PROTOCOL, { rcx }).rcx).toBe(1n | 1n << 32n)
  })

  it('has TPM_SEND_COMMAND and no features', () => {
    expect(tpmBox().call(VTPM, SvsmVtpmCall.QUERY, { rdx: 9n }))
      .toMatchObject({ code: R.SUCCESS, rcx: 0x100n, rdx: 0n })
  })
})

describe('SVSM_VTPM_CMD', () => {
  it('has the TPM carry out a command, and puts the response into the same buffer', () => {
    const box = tpmBox((command) => Uint8Array.of(...command, 1, 2))
    expect(box.send().code).toBe(R.SUCCESS)
    expect(box.told).toEqual([COMMAND])
    expect(box.response()).toEqual([...COMMAND, 1, 2])
  })

  it('takes a buffer at any address', () => {
    const box = tpmBox()
    expect(box.send({ at: SCRATCH + 0x123 }).code).toBe(R.SUCCESS)
    expect(box.response(SCRATCH + 0x123)).toEqual(COMMAND)
  })

  it('answers in the place of the TPM to a command whose size is not its own', () => {
    const box = tpmBox()
    expect(box.send({}, [...COMMAND, 0]).code).toBe(R.SUCCESS)
    expect(box.send({}, [1, 2, 3]).code).toBe(R.SUCCESS)
    expect(box.told).toEqual([])
    expect(box.response()).toEqual([0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x42])
  })

  it.each([
    ['a platform command that there is not', { command: 9 }], ['a locality', { locality: 1 }],
    ['more than the buffer holds', { size: PAGE - 8 }],
  ])('refuses %s', (_, fields) => {
    const box = tpmBox()
    expect(box.send(fields).code).toBe(R.INVALID_PARAMETER)
    expect(box.told).toEqual([])
  })

  it.each([
    ['no address', 0n, R.INVALID_PARAMETER], ['an address without memory', BigInt(RAM), R.INVALID_ADDRESS],
    ['a buffer that ends outside', BigInt(RAM - 8), R.INVALID_ADDRESS],
    ['a page that is not validated', 0x200_0000n, R.INVALID_ADDRESS],
  ])('refuses %s', (_, rcx, code) => {
    expect(tpmBox().call(VTPM, SvsmVtpmCall.CMD, { rcx }).code).toBe(code)
  })

  it('fails when the TPM does not answer, and when its answer is too long', () => {
    expect(tpmBox(() => null).send().code).toBe(R.INVALID_REQUEST)
    expect(tpmBox(() => new Uint8Array(PAGE - 3)).send().code).toBe(R.INVALID_REQUEST)
    expect(tpmBox(() => new Uint8Array(PAGE - 4)).send().code).toBe(R.SUCCESS)
  })
})
