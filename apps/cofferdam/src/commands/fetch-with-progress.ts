import { fetchImages, type FetchOptions } from '../images/fetch.ts'
import { fetchModules } from '../images/kernel-modules.ts'
import type { StoredImage } from '../images/store.ts'
import { createProgressLine } from '../progress.ts'
import type { Surroundings } from '../surroundings.ts'

const withProgress = async <T>(
  { stderr, store }: Surroundings,
  refresh: boolean,
  fetch: (options: FetchOptions) => Promise<T>,
): Promise<T> => {
  const line = createProgressLine(stderr)
  try {
    const onProgress: FetchOptions['onProgress'] = (_, { what, fraction }) => line.show(`fetching ${what}`, fraction)
    return await fetch({ store, refresh, onProgress })
  } finally {
    line.clear()
  }
}

/** Fetches images with a progress bar on stderr. */
export const fetchWithProgress = (
  names: readonly string[],
  around: Surroundings,
  refresh: boolean,
): Promise<StoredImage[]> => withProgress(around, refresh, (options) => fetchImages(names, options))

/** Fetches the modules of a kernel of the catalog with a progress bar on stderr. */
export const fetchModulesWithProgress = (kernel: StoredImage, around: Surroundings): Promise<StoredImage> =>
  withProgress(around, false, (options) => fetchModules(kernel, options))
