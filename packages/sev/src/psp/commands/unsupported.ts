/** Commands that the ABIs name and this firmware does not serve: guests of SEV and SEV-ES, migration, updates. */
import { PspCommand, PspStatus } from '@cofferdam/spec'
import type { PspHandler } from '../types.ts'

const names = [
  'PEK_GEN', 'PEK_CSR', 'PEK_CERT_IMPORT', 'PDH_CERT_EXPORT', 'PDH_GEN', 'DOWNLOAD_FIRMWARE', 'RING_BUFFER',
  'DECOMMISSION', 'ACTIVATE', 'DEACTIVATE', 'GUEST_STATUS', 'COPY', 'ACTIVATE_EX', 'LAUNCH_START',
  'LAUNCH_UPDATE_DATA', 'LAUNCH_UPDATE_VMSA', 'LAUNCH_MEASURE', 'LAUNCH_SECRET', 'LAUNCH_FINISH', 'ATTESTATION',
  'SEND_START', 'SEND_UPDATE_DATA', 'SEND_UPDATE_VMSA', 'SEND_FINISH', 'SEND_CANCEL', 'RECEIVE_START',
  'RECEIVE_UPDATE_DATA', 'RECEIVE_UPDATE_VMSA', 'RECEIVE_FINISH', 'DBG_DECRYPT', 'DBG_ENCRYPT',
  'SNP_DOWNLOAD_FIRMWARE_EX',
] as const

export const unsupported: readonly PspHandler[] = names.map((name) => ({
  id: PspCommand[name], name, bytes: 0, run: () => PspStatus.UNSUPPORTED,
}))
