/** Whether data from outside has the shape that is expected of it. */

/** A typed array's constructor: that kind of array, of any length. */
type TypedArray = typeof Uint8Array | typeof Uint16Array | typeof Uint32Array | typeof Int32Array | typeof Float64Array

/**
 * What a value must be. Numbers are whole and exact; a record has the named fields; a list has items of one shape, a
 * tuple so many, each of its own.
 */
export type Shape =
  | 'count' | 'integer' | 'word' | 'bigint' | 'boolean' | 'string' | 'any' | TypedArray
  | { readonly list: Shape }
  | { readonly tuple: readonly Shape[] }
  | { readonly orNull: Shape }
  | { readonly [field: string]: Shape }

/** A place in the data and what belongs there. */
export interface Misfit {
  readonly path: string
  readonly expected: string
}

const scalars: Readonly<Record<string, readonly [string, (value: unknown) => boolean]>> = {
  count: ['a whole number, not negative', (value) => Number.isSafeInteger(value) && (value as number) >= 0],
  integer: ['a whole number', Number.isSafeInteger],
  word: ['a bigint of 64 bits', (value) => typeof value === 'bigint' && value >= 0n && value < 1n << 64n],
  bigint: ['a bigint', (value) => typeof value === 'bigint'],
  boolean: ['true or false', (value) => typeof value === 'boolean'],
  string: ['a text', (value) => typeof value === 'string'],
  any: ['anything', (value) => value !== undefined],
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)

function misfitOfItems(value: unknown, shapeOf: (index: number) => Shape, path: string): Misfit | undefined {
  if (!Array.isArray(value)) return { path, expected: 'a list' }
  for (const [i, item] of value.entries()) {
    const found = misfit(item, shapeOf(i), `${path}[${i}]`)
    if (found !== undefined) return found
  }
  return undefined
}

/** The first place where `value` is not of the shape, or undefined. */
export function misfit(value: unknown, shape: Shape, path = ''): Misfit | undefined {
  if (typeof shape === 'string') {
    const [expected, fits] = scalars[shape]
    return fits(value) ? undefined : { path, expected }
  }
  if (typeof shape === 'function') return value instanceof shape ? undefined : { path, expected: `a ${shape.name}` }
  if ('orNull' in shape) return value === null ? undefined : misfit(value, shape.orNull, path)
  if ('list' in shape) return misfitOfItems(value, () => shape.list, path)
  if ('tuple' in shape) {
    const shapes = shape.tuple as readonly Shape[]
    const fits = Array.isArray(value) && value.length === shapes.length
    return fits ? misfitOfItems(value, (i) => shapes[i], path) : { path, expected: `${shapes.length} items` }
  }
  if (!isRecord(value)) return { path, expected: 'a record' }
  for (const [field, inner] of Object.entries(shape)) {
    const found = misfit(value[field], inner, path === '' ? field : `${path}.${field}`)
    if (found !== undefined) return found
  }
  return undefined
}
