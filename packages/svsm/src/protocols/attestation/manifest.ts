/** Manifests: what services say of themselves, for a report to vouch for (58019 §7.2, table 13). */
import { guidBytes, SvsmManifestEntry, SvsmManifestHeader, SvsmServiceGuid } from '@cofferdam/spec'
import type { SvsmState } from '../../call.ts'
import { viewOf } from '../../memory.ts'

/** A service and its manifest. */
export interface ServiceManifest {
  readonly guid: string
  readonly manifest: Uint8Array
}

/** The services of an SVSM; null when one cannot say what it is. */
export function services(svsm: SvsmState): readonly ServiceManifest[] | null {
  const { vtpm } = svsm
  if (vtpm === undefined) return []
  const manifest = vtpm.manifest()
  return manifest === null ? null : [{ guid: SvsmServiceGuid.VTPM, manifest }]
}

/** All manifests in one: a table of GUIDs, then what they stand for. */
export function servicesManifest(all: readonly ServiceManifest[]): Uint8Array {
  const head = SvsmManifestHeader.size + all.length * SvsmManifestEntry.size
  const size = all.reduce((sum, { manifest }) => sum + manifest.length, head)
  const bytes = new Uint8Array(size)
  const view = viewOf(bytes)
  SvsmManifestHeader.write(view, { guid: guidBytes(SvsmServiceGuid.MANIFEST), size, entries: all.length })
  let offset = head
  all.forEach(({ guid, manifest }, i) => {
    const at = SvsmManifestHeader.size + i * SvsmManifestEntry.size
    SvsmManifestEntry.write(view, { guid: guidBytes(guid), offset, size: manifest.length }, at)
    bytes.set(manifest, offset)
    offset += manifest.length
  })
  return bytes
}
