import { InvalidArgumentError } from 'commander'

/** What `--share` says. */
export interface ShareArgument {
  readonly folder: string
  readonly tag: string
  readonly writable: boolean
}

/** What may follow the folder; a comma in its name is no trouble as long as nothing of that kind comes after it. */
const form = /^(.+?)((?:,(?:rw|ro|tag=[^,]*))*)$/s

/** `DIR[,tag=NAME][,rw]`, repeated. Tags are `share`, `share2`, … unless they are given. */
export const parseShare = (text: string, before: readonly ShareArgument[] = []): ShareArgument[] => {
  const [, folder, rest = ''] = form.exec(text) ?? []
  if (folder === undefined) throw new InvalidArgumentError('expected DIR[,tag=NAME][,rw]')
  const options = rest.split(',').slice(1)
  const given = options.filter((option) => option.startsWith('tag=')).at(-1)?.slice('tag='.length)
  const tag = given ?? (before.length === 0 ? 'share' : `share${before.length + 1}`)
  if (!/^[\w.-]{1,31}$/.test(tag)) {
    throw new InvalidArgumentError('expected tag= and 1 to 31 letters, digits, dots, dashes or underscores')
  }
  if (before.some((other) => other.tag === tag)) {
    throw new InvalidArgumentError(`expected a tag of its own; '${tag}' is taken`)
  }
  return [...before, { folder, tag, writable: options.includes('rw') && !options.includes('ro') }]
}
