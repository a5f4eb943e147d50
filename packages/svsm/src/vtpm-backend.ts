/** The TPM 2.0 behind the vTPM protocol. */
export interface VtpmBackend {
  /**
   * Has the TPM carry out a command (TPM 2.0 part 1, §18: a complete command buffer).
   * @returns the response buffer, or null when the TPM gave none
   */
  command(command: Uint8Array): Uint8Array | null
  /** The public area of its endorsement key (TPMT_PUBLIC), the manifest of the attestation protocol. */
  readonly endorsementKey: Uint8Array
}
