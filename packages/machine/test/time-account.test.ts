import { describe, expect, it } from 'vitest'
import { ACCEPTANCE_GAP, createTimeAccount } from '../src/snp/time-account.ts'
import type { TimeAccount } from '../src/snp/time-account.ts'

/** An account whose clocks go on by hand: so many instructions, of two nanoseconds and a millisecond each. */
function createAccount(count = 1): TimeAccount & { pass(instructions: number): void; counts(): readonly number[] } {
  let time = 0
  const account = createTimeAccount(count, { retired: () => time, now: () => time * 2, wall: () => time })
  account.turn(0)
  return {
    ...account,
    pass(instructions) { time += instructions },
    counts() {
      const { acceptance, exits, rest } = account.spent()
      return [acceptance, exits, rest].map(({ instructions }) => instructions)
    },
  }
}

describe('the time account of an SNP guest', () => {
  it('counts nothing before the first turn', () => {
    let time = 5
    const account = createTimeAccount(1, { retired: () => time, now: () => time, wall: () => time })
    time = 1000
    account.turn(0)
    expect(account.spent().rest.instructions).toBe(0)
  })

  it('books instructions, virtual and wall time alike', () => {
    const account = createAccount()
    account.pass(500)
    expect(account.spent().rest).toEqual({ instructions: 500, virtualSeconds: 1000 / 1e9, wallSeconds: 0.5 })
  })

  it('books a #VC handler as an exit, up to the IRET to the stack where it began', () => {
    const account = createAccount()
    account.pass(10)
    account.handlerBegins(0x8000n)
    account.pass(20)
    // An interrupt inside of the handler returns into it.
    account.handlerReturns(0x7000n, false)
    account.pass(30)
    account.handlerReturns(0x8000n, false)
    account.pass(40)
    expect(account.counts()).toEqual([0, 50, 50])
  })

  it('ends all handlers where user code goes on', () => {
    const account = createAccount()
    account.handlerBegins(0x8000n)
    account.handlerBegins(0x7000n)
    account.pass(20)
    account.handlerReturns(0x1234n, true)
    expect(account.inHandler()).toBe(false)
    account.pass(5)
    expect(account.counts()).toEqual([0, 20, 5])
  })

  it('books the host\'s work by what the exit was for', () => {
    const account = createAccount()
    account.exitBegins()
    account.pass(7)
    account.exitIs('cpuid')
    account.exitEnds()
    account.exitBegins()
    account.exitIs('page-state-change')
    account.pass(9)
    account.exitEnds()
    expect(account.counts()).toEqual([9, 7, 0])
  })

  it('books the guest\'s way from one step of acceptance to the next as acceptance', () => {
    const account = createAccount()
    account.pass(100)
    account.accepts()
    account.pass(ACCEPTANCE_GAP)
    account.accepts()
    account.pass(3)
    expect(account.counts()).toEqual([ACCEPTANCE_GAP, 0, 103])
  })

  it('books a longer way between them as the guest\'s own', () => {
    const account = createAccount()
    account.accepts()
    account.pass(ACCEPTANCE_GAP + 1)
    account.accepts()
    expect(account.counts()).toEqual([0, 0, ACCEPTANCE_GAP + 1])
  })

  it('keeps the processors\' handlers apart', () => {
    const account = createAccount(2)
    account.handlerBegins(0x8000n)
    account.pass(10)
    account.turn(1)
    account.pass(20)
    account.turn(0)
    account.pass(30)
    account.handlerReturns(0x8000n, false)
    expect(account.counts()).toEqual([0, 40, 20])
  })

  it('forgets the oldest of handlers that never return', () => {
    const account = createAccount()
    for (let sp = 1n; sp <= 100n; sp++) account.handlerBegins(sp)
    account.pass(1)
    account.handlerReturns(93n, false)
    expect(account.inHandler()).toBe(false)
  })
})
