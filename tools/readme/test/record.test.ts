import { describe, expect, it } from 'vitest'
import { drawSvg, parseCast, takePictures } from '../src/record.ts'

const cast = [
  '{"version":2,"width":120,"height":30}',
  '[0.1,"o","[    0.1] one <two> & three\\r\\n"]',
  '[0.5,"o","second\\r\\n"]',
  '[0.9,"o","\\u001b[2Jthird"]',
  '',
].join('\n')

describe('the recording of a README', () => {
  it('shows what a terminal shows, and escape sequences as what they do', async () => {
    const pictures = await takePictures(parseCast(cast))
    const texts = pictures.map(({ lines }) => lines.filter((line) => line !== '').map((line) => line.trim()))
    expect(texts[0]).toEqual(['[    0.1] one <two> & three'])
    expect(texts).toContainEqual(['[    0.1] one <two> & three', 'second'])
    expect(texts.at(-1)).toEqual(['third'])
  })

  it('is drawn the same every time, with its text as text and every picture once', async () => {
    const pictures = await takePictures(parseCast(cast))
    const svg = drawSvg(pictures, 'A <title>')
    expect(svg).toBe(drawSvg(await takePictures(parseCast(cast)), 'A <title>'))
    expect(svg).toContain('<title>A &lt;title&gt;</title>')
    expect(svg).toContain('one &lt;two&gt; &amp; three')
    for (let i = 0; i < pictures.length; i++) expect(svg.split(`class="p p${i}"`).length).toBe(2)
  })
})
