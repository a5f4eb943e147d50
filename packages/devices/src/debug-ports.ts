/** Ports by which firmware and test kernels speak to whoever watches. They keep no state but the last POST code. */
import type { IoHandlers } from '@cofferdam/memory'
import { copyPlain, restorePlain } from './snapshot.ts'

/**
 * isa-debug-exit (QEMU hw/misc/debugexit.c), customarily 4 ports at F4h: writing `value` ends the run with exit status
 * `2 × value + 1`.
 */
export function createDebugExit(options: { readonly onExit: (status: number) => void }): IoHandlers {
  return {
    read: () => 0,
    write(_offset, _size, value) { options.onExit((value * 2 + 1) % 256) },
  }
}

/** A debug console: bytes written come out; a read answers E9h, by which software finds it (ports 402h and E9h). */
export function createDebugConsole(options: { readonly onByte: (byte: number) => void }): IoHandlers {
  return {
    read: () => 0xe9,
    write(_offset, size, value) {
      for (let i = 0; i < size; i++) options.onByte(value >>> (8 * i) & 0xff)
    },
  }
}

/** The POST port 80h: keeps the last code. Linux writes it as a delay (`io_delay`), so it has to be cheap. */
export function createPostPort(options: { readonly onCode?: (code: number) => void } = {}) {
  const state = { code: 0 }
  const handlers: IoHandlers = {
    read: () => state.code,
    write(_offset, _size, value) {
      state.code = value & 0xff
      options.onCode?.(state.code)
    },
  }
  return {
    handlers,
    snapshot: () => copyPlain(state),
    restore(saved: { readonly code: number }) { restorePlain('post', state, saved) },
  }
}

/**
 * A range that swallows writes and reads as `value` (default all ones), for ports that software pokes on every PC
 * though nothing is there. An absent claim does the same; this one says in the table of ranges that it is meant.
 */
export function createAbsorber(value = 0xffff_ffff): IoHandlers {
  return {
    read: (_offset, size) => (size === 4 ? value : value & (2 ** (8 * size) - 1)) >>> 0,
    write: () => undefined,
  }
}
