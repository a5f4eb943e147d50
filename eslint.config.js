import { builtinModules } from 'node:module'
import stylistic from '@stylistic/eslint-plugin'
import tseslint from 'typescript-eslint'

/** What a package may not reach: it runs in a browser as well as in Node, and the same inputs give the same run. */
const hostGlobals = ['process', 'Buffer', 'global', 'require', 'module', '__dirname', '__filename', 'setImmediate']
const clockGlobals = ['setTimeout', 'setInterval', 'queueMicrotask', 'requestAnimationFrame', 'performance', 'crypto']
/** Names that the DOM's library puts into scope, where a forgotten declaration would otherwise type-check. */
const accidentalGlobals = [
  'window', 'document', 'self', 'name', 'length', 'status', 'event', 'top', 'parent', 'origin', 'location', 'screen',
  'history', 'navigator', 'external', 'frames', 'open', 'close', 'stop', 'focus', 'blur', 'print', 'find', 'scroll',
  'alert', 'confirm', 'prompt', 'fetch', 'caches', 'postMessage', 'addEventListener', 'localStorage', 'indexedDB',
]

const restrictGlobals = (names, message) => names.map((name) => ({ name, message }))

const defaultExport = {
  selector: 'ExportDefaultDeclaration',
  message: 'Export by name. Only configuration files have a default export.',
}
const clock = {
  selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
  message: 'Time is injected.',
}

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '**/.turbo/**', '**/coverage/**', 'docs/**'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts', '**/*.js', '**/*.mjs'],
    plugins: { '@stylistic': stylistic },
    rules: {
      '@stylistic/semi': ['error', 'never'],
      '@stylistic/quotes': ['error', 'single', { avoidEscape: true, allowTemplateLiterals: 'avoidEscape' }],
      '@stylistic/max-len': ['error', { code: 120, ignoreUrls: true, ignoreRegExpLiterals: true }],
      '@stylistic/no-tabs': 'error',
      '@stylistic/no-trailing-spaces': 'error',
      '@stylistic/eol-last': 'error',
      '@stylistic/comma-dangle': ['error', 'only-multiline'],
      'eqeqeq': 'error',
      'no-var': 'error',
      'no-restricted-syntax': ['error', defaultExport],
      'max-lines': ['warn', 450],
    },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // A number in a message is what we want to read there.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // Element access is not `T | undefined` here (typed arrays would drown in it), so the rule takes the check of a
      // missing element for a needless one.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // It asks for `!` where a cast is written, and `!` is what the next rule forbids.
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      '@typescript-eslint/no-non-null-assertion': 'error',
      // Nothing here uses `this`: what createX returns is a record of closures, and taking one out of it is fine.
      '@typescript-eslint/unbound-method': 'off',
      // Strings that are spread here are ASCII: notations, signatures, hexadecimal digits.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
      // A port that ignores writes is an empty function.
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', {
        ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true,
      }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    // The rules of everything below apps: no host, no clock, no entropy of its own.
    files: ['packages/*/src/**/*.ts'],
    rules: {
      'no-restricted-imports': ['error', {
        paths: builtinModules.map((name) => ({ name, message: 'Packages run in browsers: no Node built-ins.' })),
        patterns: [
          { group: ['node:*'], message: 'Packages run in browsers: no Node built-ins.' },
          { group: ['**/dist/**'], message: 'Import the package, not its build.' },
        ],
      }],
      'no-restricted-globals': ['error',
        ...restrictGlobals(hostGlobals, 'Packages run in browsers: no Node globals.'),
        ...restrictGlobals(clockGlobals, 'Time, entropy and scheduling are injected.'),
        ...restrictGlobals(accidentalGlobals, 'Not a variable of this file.'),
        ...restrictGlobals(['console'], 'Packages return values and events; the application prints.'),
      ],
      'no-restricted-properties': ['error',
        { object: 'Date', property: 'now', message: 'Time is injected.' },
        { object: 'Math', property: 'random', message: 'Entropy is injected.' },
        { object: 'performance', property: 'now', message: 'Time is injected.' },
        { object: 'globalThis', property: 'process', message: 'Packages run in browsers: no Node globals.' },
      ],
      'no-restricted-syntax': ['error', defaultExport, clock],
    },
  },
  {
    files: ['**/test/**/*.ts'],
    rules: {
      // A test that dereferences nothing fails, which is its job.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['**/*table*.ts', '**/tables/**/*.ts', '**/test/**/*.ts'],
    rules: { 'max-lines': 'off' },
  },
  {
    // A row of a table stays a row.
    files: ['**/*table*.ts', '**/tables/**/*.ts'],
    rules: { '@stylistic/max-len': 'off' },
  },
  {
    files: ['**/*.config.{ts,js,mjs}', 'tsup.shared.ts'],
    rules: { 'no-restricted-syntax': 'off' },
  },
)
