import { must } from './run.ts'

/** Builds what is published, as `npm test` has done before; a test run by itself must not look at an old build. */
export async function ensureBuilt(): Promise<void> {
  await must('turbo', ['run', 'build', '--output-logs=errors-only', '--concurrency=2'])
}
