/** The few SVG elements that a memory map is made of, as strings. */

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escape = (text: string): string => text.replaceAll(/[&<>"]/g, (c) => escapes[c])
const n = (x: number): string => String(Math.round(x * 100) / 100)

/** Width of a text in pixels, on the safe side of what sans-serif fonts take. */
export const textWidth = (text: string, size: number): number => text.length * size * 0.6

export interface TextStyle {
  readonly size: number
  readonly anchor?: 'start' | 'middle' | 'end'
  readonly weight?: 'bold'
  readonly fill?: string
}

export function text(x: number, y: number, content: string, style: TextStyle): string {
  const { size, anchor, weight, fill = '#222' } = style
  const extra = (anchor === undefined ? '' : ` text-anchor="${anchor}"`) +
    (weight === undefined ? '' : ` font-weight="${weight}"`)
  return `<text x="${n(x)}" y="${n(y)}" font-size="${size}" fill="${fill}"${extra}>${escape(content)}</text>`
}

/** A rectangle; `title` is shown by browsers when the pointer rests on it. */
export function rect(x: number, y: number, width: number, height: number, fill: string, title = ''): string {
  const inner = title === '' ? '' : `<title>${escape(title)}</title>`
  return `<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" fill="${fill}" stroke="#333" ` +
    `stroke-width="0.6">${inner}</rect>`
}

/** White ground behind a text. */
export const ground = (x: number, y: number, width: number, height: number): string =>
  `<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" fill="white" rx="3"/>`

export const line = (x1: number, y1: number, x2: number, y2: number): string =>
  `<line x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}" stroke="#333" stroke-width="0.8"/>`

/** A fill of diagonal stripes, to be named as `url(#id)`. */
export const stripes = (id: string, ground: string, stripe: string): string =>
  `<pattern id="${id}" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">` +
  `<rect width="8" height="8" fill="${ground}"/><rect width="3" height="8" fill="${stripe}"/></pattern>`

export const svg = (width: number, height: number, defs: string, body: readonly string[]): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="${n(width)}" height="${n(height)}" ` +
  `viewBox="0 0 ${n(width)} ${n(height)}" font-family="DejaVu Sans, Verdana, sans-serif">\n<defs>${defs}</defs>\n` +
  `<rect width="100%" height="100%" fill="white"/>\n${body.join('\n')}\n</svg>\n`
