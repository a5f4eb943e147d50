/** The TPM 2.0 behind the vTPM protocol. */
export interface VtpmBackend {
  /**
   * Has the TPM carry out a command (TPM 2.0 library, part 1: a header of 10 bytes with the size of the whole).
   * @returns the response, or null when the TPM gave none
   */
  command(command: Uint8Array): Uint8Array | null
}
