/** The port to SEAM mode, and calls through it with the retries that the ABI asks for. */
import { LEAF_NAMES } from './abi.ts'
import { describeStatus, isError, Status, statusCode } from './status.ts'

/** Argument registers of a SEAMCALL; what is left out is 0. */
export interface SeamcallInput {
  readonly rcx?: bigint
  readonly rdx?: bigint
  readonly r8?: bigint
}

/** Registers after a SEAMCALL that reached SEAM mode. */
export interface SeamcallOutput {
  readonly rax: bigint
  readonly rcx: bigint
  readonly rdx: bigint
  readonly r8: bigint
}

/** What becomes of the SEAMCALL instruction: it enters SEAM mode and comes back, or it does not. */
export type SeamcallResult =
  | { readonly kind: 'returned'; readonly regs: SeamcallOutput }
  /** CF set: nothing is loaded that could be entered (no P-SEAMLDR, no module). */
  | { readonly kind: 'vmfail-invalid' }
  /** #GP: TDX is not enabled by the firmware. #UD: the processor is not in VMX operation. */
  | { readonly kind: 'fault'; readonly vector: '#GP' | '#UD' }

/** The port: SEAMCALL on a logical processor. Implemented by a processor that has SEAM mode, or by a model. */
export interface Seamcall {
  seamcall(lp: number, rax: bigint, input: SeamcallInput): SeamcallResult
}

/** A SEAMCALL that did not succeed. */
export interface SeamcallError {
  readonly leaf: string
  readonly lp: number
  readonly result: SeamcallResult
  /** Times that it was tried. */
  readonly tries: number
}

/** The error in words. */
export function describeSeamcallError(e: SeamcallError): string {
  const where = `${e.leaf} on LP ${e.lp}`
  switch (e.result.kind) {
    case 'vmfail-invalid': return `${where}: VMfailInvalid, no module to enter is loaded`
    case 'fault':
      return e.result.vector === '#UD'
        ? `${where}: #UD, the processor is not in VMX operation`
        : `${where}: #GP, TDX is not enabled by the firmware`
    case 'returned': {
      const times = e.tries > 1 ? ` after ${e.tries} tries` : ''
      return `${where}: ${describeStatus(e.result.regs.rax)}${times}`
    }
  }
}

/** How often a call is repeated. */
export interface Retries {
  /** While another processor holds the module or an operand (TDX_SYS_BUSY, TDX_OPERAND_BUSY). */
  readonly busy: number
  /** While there is no entropy (TDX_RND_NO_ENTROPY, TDX_KEY_GENERATION_FAILED). */
  readonly entropy: number
}

/** Linux tries ten times for entropy; a busy module is busy for long when other processors initialise theirs. */
export const DEFAULT_RETRIES: Retries = { busy: 1000, entropy: 10 }

/** Something the sequence wants done; what comes back is in `Reply`. */
export type TdxRequest =
  | { readonly kind: 'seamcall'; readonly lp: number; readonly rax: bigint; readonly input: SeamcallInput }
  /** WBINVD on every online processor. */
  | { readonly kind: 'flush-caches'; readonly why: string }
  /** Writes zeroes to `[start, end)` with MOVDIR64B, which makes lines ordinary memory again. */
  | { readonly kind: 'clear'; readonly start: number; readonly end: number }

/** A sequence of requests: its driver answers SEAMCALLs, and does the rest. */
export type TdxSequence<T> = Generator<TdxRequest, T, SeamcallResult | undefined>

type CallResult =
  | { readonly ok: true; readonly regs: SeamcallOutput }
  | { readonly ok: false; readonly error: SeamcallError }

/** Makes one SEAMCALL, again while the module asks for that. */
export function* call(
  lp: number, leaf: bigint, input: SeamcallInput, retries: Retries,
): TdxSequence<CallResult> {
  let busy = 0
  let entropy = 0
  for (;;) {
    const result = (yield { kind: 'seamcall', lp, rax: leaf, input }) ?? { kind: 'vmfail-invalid' }
    const error = (): CallResult => ({
      ok: false,
      error: { leaf: LEAF_NAMES.get(leaf) ?? `leaf ${leaf}`, lp, result, tries: busy + entropy + 1 },
    })
    if (result.kind !== 'returned') return error()
    const { regs } = result
    if (!isError(regs.rax)) return { ok: true, regs }
    switch (statusCode(regs.rax)) {
      case Status.TDX_SYS_BUSY:
      case Status.TDX_OPERAND_BUSY:
        if (++busy <= retries.busy) continue
        busy--
        return error()
      case Status.TDX_RND_NO_ENTROPY:
      case Status.TDX_KEY_GENERATION_FAILED:
        if (++entropy < retries.entropy) continue
        entropy--
        return error()
      default:
        return error()
    }
  }
}
