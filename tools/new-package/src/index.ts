/** The files of a new package, as text. */
export interface NewPackage {
  /** Name of its folder below packages/: lower case, digits, dashes. */
  readonly id: string
  /** One line, for package.json and the README. */
  readonly description: string
  /** Folder names of the packages that it imports. */
  readonly imports: readonly string[]
}

/** Files of the package by their path from the repository's root. */
export function filesOf({ id, description, imports }: NewPackage): ReadonlyMap<string, string> {
  const name = `@cofferdam/${id}`
  const entries = (dist: string): object => ({
    import: { types: `${dist}.d.ts`, default: `${dist}.js` },
    require: { types: `${dist}.d.cts`, default: `${dist}.cjs` },
  })
  const manifest = {
    name,
    version: '0.0.0',
    description,
    license: 'Apache-2.0',
    type: 'module',
    sideEffects: false,
    engines: { node: '>=20' },
    exports: { '.': { '@cofferdam/source': './src/index.ts', ...entries('./dist/index') } },
    // What is published has no source to point at.
    publishConfig: { access: 'public', exports: { '.': entries('./dist/index') } },
    files: ['dist', 'README.md'],
    scripts: { build: 'tsup', types: 'tsc -p .', lint: 'eslint .' },
    dependencies: Object.fromEntries(imports.map((other) => [`@cofferdam/${other}`, 'workspace:*'])),
  }
  const config = {
    extends: '../../tsconfig.base.json',
    include: ['src', 'test', 'examples', 'bench', 'tsup.config.ts'],
  }
  const example = `import { greet } from '${name}'\n\nconsole.log(greet('reader'))\n`
  const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`
  return new Map(Object.entries({
    'package.json': json(manifest),
    'tsconfig.json': json(config),
    'tsup.config.ts': "export { default } from '../../tsup.shared.ts'\n",
    'README.md': readme(name, description, example),
    'src/index.ts': "export { greet } from './greet.ts'\n",
    'src/greet.ts': '/** Replace me. `whom` is greeted by name. */\n'
      + 'export function greet(whom: string): string {\n  return `Hello, ${whom}`\n}\n',
    'test/greet.test.ts': "import { expect, it } from 'vitest'\nimport { greet } from '../src/index.ts'\n\n"
      + "it('greets by name', () => {\n  expect(greet('you')).toBe('Hello, you')\n})\n",
    'examples/greet.ts': example,
  }).map(([file, text]): [string, string] => [`packages/${id}/${file}`, text])
    .concat([[`.changeset/${id}-first.md`, `---\n'${name}': minor\n---\n\n${description}.\n`]]))
}

const readme = (name: string, description: string, example: string): string => `# ${name}

${description}.

**Owns** …

**Does not own** …

<!-- example: examples/greet.ts -->
\`\`\`ts
${example}\`\`\`

<!-- output: examples/greet.ts -->
\`\`\`text
Hello, reader
\`\`\`
`
