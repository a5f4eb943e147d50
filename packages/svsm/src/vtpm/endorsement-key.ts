/**
 * The public endorsement key of a TPM: TPM2_CreatePrimary in the endorsement hierarchy with the default template for
 * RSA 2048, which gives the same key every time (TCG EK Credential Profile 2.5, B.3.3, template L-1; TPM 2.0 library,
 * parts 2 and 3).
 */
const ST_NO_SESSIONS = 0x8001
const ST_SESSIONS = 0x8002
const CC_CREATE_PRIMARY = 0x131
const CC_FLUSH_CONTEXT = 0x165
const RH_ENDORSEMENT = 0x4000_000b
const RS_PW = 0x4000_0009
const ALG = { RSA: 1, AES: 6, SHA256: 0x0b, NULL: 0x10, CFB: 0x43 } as const
/** fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt. */
const ATTRIBUTES = 0x0003_00b2
const KEY_BITS = 2048
/** PolicySecret(endorsement hierarchy), as the profile has it. */
const POLICY = [
  0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
  0x6e,
  0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
] as const

const u16 = (n: number): number[] => [n >> 8, n & 0xff]
const u32 = (n: number): number[] => [...u16(n >>> 16), ...u16(n & 0xffff)]
const sized = (bytes: readonly number[]): number[] => [...u16(bytes.length), ...bytes]

const command = (tag: number, code: number, rest: readonly number[]): Uint8Array =>
  Uint8Array.of(...u16(tag), ...u32(10 + rest.length), ...u32(code), ...rest)

function createPrimary(): Uint8Array {
  const parameters = [
    ...u16(ALG.AES), ...u16(128), ...u16(ALG.CFB), ...u16(ALG.NULL), ...u16(KEY_BITS), ...u32(0),
  ]
  const template = [
    ...u16(ALG.RSA), ...u16(ALG.SHA256), ...u32(ATTRIBUTES), ...sized(POLICY), ...parameters,
    ...sized(new Array<number>(KEY_BITS / 8).fill(0)),
  ]
  const password = [...u32(RS_PW), ...u16(0), 0, ...u16(0)]
  const sensitive = sized([...u16(0), ...u16(0)])
  return command(ST_SESSIONS, CC_CREATE_PRIMARY, [
    ...u32(RH_ENDORSEMENT), ...u32(password.length), ...password, ...sensitive, ...sized(template), ...u16(0),
    ...u32(0),
  ])
}

/** Bytes from the response's head to the public area: header, handle, size of the parameters. */
const BEFORE_PUBLIC = 10 + 4 + 4

/** TPMT_PUBLIC of the key; null when the TPM makes none. The key itself does not stay loaded. */
export function readEndorsementKey(send: (command: Uint8Array) => Uint8Array | null): Uint8Array | null {
  const response = send(createPrimary())
  if (response === null || response.length < BEFORE_PUBLIC + 2) return null
  const view = new DataView(response.buffer, response.byteOffset, response.length)
  if (view.getUint32(6) !== 0) return null
  const size = view.getUint16(BEFORE_PUBLIC)
  const start = BEFORE_PUBLIC + 2
  if (start + size > response.length) return null
  send(command(ST_NO_SESSIONS, CC_FLUSH_CONTEXT, u32(view.getUint32(10))))
  return response.slice(start, start + size)
}
