import type { GhcbServer } from '../types.ts'

/** HV_FEATURES (8000_FFFDh): EXITINFO2 is the bitmap of what the host can do. */
export const hvFeaturesExit: GhcbServer = {
  name: 'hv-features',
  serve: (_request, { features }) => ({ info2: features }),
}
