/** An ID block with its authentication: IGVM's short form as the firmware takes it (56860 §8.19, tables 76 and 77). */
import {
  IgvmSnpIdBlock, IgvmSnpPublicKey, SnpEcdsaKey, SnpEcdsaSignature, SnpIdAuth, SnpIdBlock,
} from '@cofferdam/spec'
import { viewOf } from './bytes.ts'
import type { IgvmEntry, IgvmReader } from './reader.ts'
import type { IgvmImage } from './types.ts'

const R_BYTES = 72

const signature = (bytes: Uint8Array): Uint8Array =>
  SnpEcdsaSignature.create({ r: bytes.slice(0, R_BYTES), s: bytes.slice(R_BYTES) })

function key(bytes: Uint8Array): Uint8Array {
  const { curve, qx, qy } = IgvmSnpPublicKey.read(viewOf(bytes))
  return SnpEcdsaKey.create({ curve, qx, qy })
}

/** @throws BootError for flags and reserved bytes that are none, and for a file without a policy */
export function readIdBlock(reader: IgvmReader, entry: IgvmEntry, policy?: bigint): NonNullable<IgvmImage['identity']> {
  const block = reader.read(entry, IgvmSnpIdBlock)
  const { authorKeyEnabled, version, guestSvn, launchDigest, familyId, imageId } = block
  if (authorKeyEnabled > 1) reader.refuse(entry, `author_key_enabled ${authorKeyEnabled}; expected 0 or 1`)
  if (block.reserved.some((byte) => byte !== 0)) reader.refuse(entry, 'its reserved bytes are not zero')
  if (policy === undefined) return reader.refuse(entry, 'there is no GUEST_POLICY; an ID block is signed with one')
  const authorKey = authorKeyEnabled === 1
  return {
    authorKey,
    block: SnpIdBlock.create({ launchDigest, familyId, imageId, version, guestSvn, policy }),
    auth: SnpIdAuth.create({
      idKeyAlgorithm: block.idKeyAlgorithm, idBlockSignature: signature(block.idKeySignature),
      idKey: key(block.idPublicKey),
      ...(authorKey && {
        authorKeyAlgorithm: block.authorKeyAlgorithm, idKeySignature: signature(block.authorKeySignature),
        authorKey: key(block.authorPublicKey),
      }),
    }),
  }
}
