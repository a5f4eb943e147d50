/** A caller's mistake: bad input (the message names the field) or a page freed that was not allocated. */
export class PageAllocError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PageAllocError'
  }
}
