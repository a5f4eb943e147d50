import type { WriteStream } from 'node:tty'

/** One line on a terminal that shows how far something is; silent elsewhere. */
export interface ProgressLine {
  /** @param fraction - 0 to 1; `undefined` shows the text alone */
  show(text: string, fraction: number | undefined): void
  /** Takes the line away. */
  clear(): void
}

const bar = (fraction: number, width: number): string => {
  const full = Math.round(fraction * width)
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}`
}

/** The text of a progress line that fits `columns`. */
export const progressText = (text: string, fraction: number | undefined, columns: number): string => {
  const tail = fraction === undefined ? '' : ` ${bar(fraction, 24)} ${String(Math.round(fraction * 100)).padStart(3)}%`
  const room = Math.max(0, columns - 1 - tail.length)
  return `${text.length > room ? `${text.slice(0, Math.max(0, room - 1))}…` : text.padEnd(Math.min(room, 44))}${tail}`
}

/** A progress line on a stream; it draws only when the stream is a terminal, and only when the text changes. */
export const createProgressLine = (stream: WriteStream): ProgressLine => {
  if (!stream.isTTY) return { show: () => undefined, clear: () => undefined }
  let shown = ''
  return {
    show: (text, fraction) => {
      const line = progressText(text, fraction, stream.columns || 80)
      if (line === shown) return
      shown = line
      stream.write(`\r\x1b[K${line}`)
    },
    clear: () => {
      if (shown !== '') stream.write('\r\x1b[K')
      shown = ''
    },
  }
}
