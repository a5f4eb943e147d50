/** Writes IGVM files for SEV-SNP: what `parseIgvm` reads, in the same order. */
import {
  IGVM_MAGIC, IgvmGuestPolicy, IgvmHeader, IgvmPageData, IgvmPageFlags, IgvmPageType, IgvmParameter, IgvmParameterArea,
  IgvmParameterInsert, IgvmPlatform, IgvmRequiredMemory, IgvmSnpIdBlock, IgvmSnpPublicKey, IgvmSupportedPlatform,
  IgvmType,
  IgvmVariableHeader, IgvmVpContext, SnpEcdsaKey, SnpIdAuth, SnpIdBlock,
} from '@cofferdam/spec'
import { crc32 } from '../efi/crc32.ts'
import { concat, padded, viewOf } from './bytes.ts'
import type { IgvmDirective, IgvmImage, IgvmParameterKind } from './types.ts'

/** The bit of the one platform in the file. */
const MASK = 1
const LARGE = 2 ** 21
const SIGNATURE_BYTES = 144

const PARAMETER_TYPES: Readonly<Record<IgvmParameterKind, number>> = {
  'VP count': IgvmType.VP_COUNT_PARAMETER, 'memory map': IgvmType.MEMORY_MAP, 'command line': IgvmType.COMMAND_LINE,
  'MMIO ranges': IgvmType.MMIO_RANGES, 'environment': IgvmType.ENVIRONMENT_INFO_PARAMETER, 'MADT': IgvmType.MADT,
  'SRAT': IgvmType.SRAT, 'SLIT': IgvmType.SLIT, 'PPTT': IgvmType.PPTT, 'device tree': IgvmType.DEVICE_TREE,
}

function publicKey(bytes: Uint8Array): Uint8Array {
  const { curve, qx, qy } = SnpEcdsaKey.read(viewOf(bytes))
  return IgvmSnpPublicKey.create({ curve, qx, qy })
}

function idBlock({ block, auth, authorKey }: NonNullable<IgvmImage['identity']>): Uint8Array {
  const { launchDigest, familyId, imageId, version, guestSvn } = SnpIdBlock.read(viewOf(block))
  const { idKeyAlgorithm, idBlockSignature, idKey, ...author } = SnpIdAuth.read(viewOf(auth))
  return IgvmSnpIdBlock.create({
    compatibilityMask: MASK, authorKeyEnabled: authorKey ? 1 : 0, launchDigest, familyId, imageId, version, guestSvn,
    idKeyAlgorithm, idKeySignature: idBlockSignature.slice(0, SIGNATURE_BYTES), idPublicKey: publicKey(idKey),
    ...(authorKey && {
      authorKeyAlgorithm: author.authorKeyAlgorithm,
      authorKeySignature: author.idKeySignature.slice(0, SIGNATURE_BYTES),
      authorPublicKey: publicKey(author.authorKey),
    }),
  })
}

/** One variable header, its padding included. */
function header(type: number, content: Uint8Array): Uint8Array {
  const head = IgvmVariableHeader.create({ type, length: content.length })
  return padded(concat([head, content]), 8)
}

/** A directive's type and content; `place` puts bytes into the file's data and answers where. */
function directive(d: IgvmDirective, place: (bytes: Uint8Array | undefined) => number): Uint8Array {
  const gpa = 'gpa' in d ? BigInt(d.gpa) : 0n
  const compatibilityMask = MASK
  switch (d.kind) {
    case 'page': {
      const dataType =
        d.type === 'secrets' ? IgvmPageType.SECRETS : d.type === 'cpuid' ? IgvmPageType.CPUID_DATA : IgvmPageType.NORMAL
      const flags = IgvmPageFlags.pack({
        is2mbPage: d.length === LARGE ? 1 : 0, unmeasured: d.type === 'unmeasured' ? 1 : 0,
        shared: d.type === 'shared' ? 1 : 0,
      })
      const bytes = d.bytes && padded(d.bytes, d.length)
      return header(
        IgvmType.PAGE_DATA, IgvmPageData.create({ gpa, compatibilityMask, fileOffset: place(bytes), flags, dataType }),
      )
    }
    case 'vp':
      return header(IgvmType.VP_CONTEXT,
        IgvmVpContext.create({ gpa, compatibilityMask, fileOffset: place(d.vmsa), vpIndex: d.vp }))
    case 'area':
      return header(IgvmType.PARAMETER_AREA, IgvmParameterArea.create({
        numberOfBytes: BigInt(d.length), parameterAreaIndex: d.index,
        fileOffset: place(d.initial && padded(d.initial, d.length)),
      }))
    case 'parameter':
      return header(
        PARAMETER_TYPES[d.what], IgvmParameter.create({ parameterAreaIndex: d.index, byteOffset: d.offset }),
      )
    case 'insert':
      return header(
        IgvmType.PARAMETER_INSERT, IgvmParameterInsert.create({ gpa, compatibilityMask, parameterAreaIndex: d.index }),
      )
    case 'required':
      return header(
        IgvmType.REQUIRED_MEMORY, IgvmRequiredMemory.create({ gpa, compatibilityMask, numberOfBytes: d.length }),
      )
  }
}

/** All variable headers; file offsets count from `dataAt`. */
function variableHeaders({ policy, identity, directives }: IgvmImage, dataAt: number, data: Uint8Array[]): Uint8Array {
  let end = dataAt
  const place = (bytes: Uint8Array | undefined): number => {
    if (bytes === undefined) return 0
    data.push(bytes)
    end += bytes.length
    return end - bytes.length
  }
  return concat([
    header(IgvmType.SUPPORTED_PLATFORM, IgvmSupportedPlatform.create({
      compatibilityMask: MASK, platformType: IgvmPlatform.SEV_SNP, platformVersion: 1,
    })),
    ...(policy === undefined
      ? []
      : [header(IgvmType.GUEST_POLICY, IgvmGuestPolicy.create({ policy, compatibilityMask: MASK }))]),
    ...(identity === undefined ? [] : [header(IgvmType.SNP_ID_BLOCK, idBlock(identity))]),
    ...directives.map((d) => directive(d, place)),
  ])
}

/**
 * A file of version 1 for SEV-SNP. Contents that are shorter than their page or area are filled up with zeroes.
 * @throws RangeError for numbers that no field holds
 */
export function writeIgvm(image: IgvmImage): Uint8Array {
  // Offsets do not change the headers' length, so the first pass tells where the data begin.
  const length = variableHeaders(image, 1, []).length
  const data: Uint8Array[] = []
  const variable = variableHeaders(image, IgvmHeader.size + length, data)
  const fixed = IgvmHeader.create({
    magic: IGVM_MAGIC, formatVersion: 1, variableHeaderOffset: IgvmHeader.size, variableHeaderSize: length,
    totalFileSize: IgvmHeader.size + length + data.reduce((sum, part) => sum + part.length, 0),
  })
  IgvmHeader.set(viewOf(fixed), 'checksum', crc32(concat([fixed, variable])))
  return concat([fixed, variable, ...data])
}
