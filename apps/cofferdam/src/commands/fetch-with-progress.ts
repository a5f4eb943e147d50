import { fetchImages } from '../images/fetch.ts'
import type { StoredImage } from '../images/store.ts'
import { createProgressLine } from '../progress.ts'
import type { Surroundings } from '../surroundings.ts'

/** Fetches images with a progress bar on stderr. */
export const fetchWithProgress = async (
  names: readonly string[],
  { stderr, store }: Surroundings,
  refresh: boolean,
): Promise<StoredImage[]> => {
  const line = createProgressLine(stderr)
  try {
    return await fetchImages(names, {
      store,
      refresh,
      onProgress: (_, { what, fraction }) => line.show(`fetching ${what}`, fraction),
    })
  } finally {
    line.clear()
  }
}
