/**
 * The TPM as the protocols use it: commands of the right form, and the public endorsement key that tells which TPM it
 * is.
 */
import type { VtpmBackend } from './backend.ts'
import { readEndorsementKey } from './endorsement-key.ts'

export interface Vtpm extends VtpmBackend {
  /** TPMT_PUBLIC of the endorsement key, the manifest of attestation; null when the TPM does not make one. */
  manifest(): Uint8Array | null
}

const HEADER = 10
/**
 * TPM_ST_NO_SESSIONS, size, TPM_RC_COMMAND_SIZE (part 2, table 16): what a TPM says of a size that is not the
 * command's.
 */
const WRONG_SIZE = Uint8Array.of(0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x42)

export function createVtpm(backend: VtpmBackend): Vtpm {
  let key: Uint8Array | null = null
  const command = (bytes: Uint8Array): Uint8Array | null => {
    const size = bytes.length < HEADER ? -1 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(2)
    return size === bytes.length ? backend.command(bytes) : WRONG_SIZE
  }
  return {
    command,
    manifest: () => key ??= readEndorsementKey(command),
  }
}
