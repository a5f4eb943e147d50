/** Forms with a handler of their own in the dispatch function, most frequent first: from profiles of kernel boots. */
export const hotForms: readonly string[] = []
