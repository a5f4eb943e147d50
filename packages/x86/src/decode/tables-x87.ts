/**
 * x87 (escape opcodes D8–DF). Source: SDM vol. 2 appendix A.5. The aliases that processors execute without the manual
 * listing them (FCOM2, FXCH4, FSTP8 … and the 8087/287 FENI, FDISI, FSETPM, which do nothing) are in here too.
 * `size` is the width in memory; 10 for register forms. FLDENV, FNSAVE …: 2 or 4 by operand size.
 */
export const X87 = [
  'd8 /0: fadd Md', 'd8 /1: fmul Md', 'd8 /2: fcom Md', 'd8 /3: fcomp Md',
  'd8 /4: fsub Md', 'd8 /5: fsubr Md', 'd8 /6: fdiv Md', 'd8 /7: fdivr Md',
  'd8 c0+i: fadd ST0,STi', 'd8 c8+i: fmul ST0,STi', 'd8 d0+i: fcom STi', 'd8 d8+i: fcomp STi',
  'd8 e0+i: fsub ST0,STi', 'd8 e8+i: fsubr ST0,STi', 'd8 f0+i: fdiv ST0,STi', 'd8 f8+i: fdivr ST0,STi',

  'd9 /0: fld Md', 'd9 /2: fst Md', 'd9 /3: fstp Md', 'd9 /4: fldenv M size=z',
  'd9 /5: fldcw Mw', 'd9 /6: fnstenv M size=z', 'd9 /7: fnstcw Mw',
  'd9 c0+i: fld STi', 'd9 c8+i: fxch STi', 'd9 d0: fnop', 'd9 d8+i: fstpnce STi',
  'd9 e0: fchs', 'd9 e1: fabs', 'd9 e4: ftst', 'd9 e5: fxam',
  'd9 e8: fld1', 'd9 e9: fldl2t', 'd9 ea: fldl2e', 'd9 eb: fldpi', 'd9 ec: fldlg2', 'd9 ed: fldln2', 'd9 ee: fldz',
  'd9 f0: f2xm1', 'd9 f1: fyl2x', 'd9 f2: fptan', 'd9 f3: fpatan', 'd9 f4: fxtract',
  'd9 f5: fprem1', 'd9 f6: fdecstp', 'd9 f7: fincstp',
  'd9 f8: fprem', 'd9 f9: fyl2xp1', 'd9 fa: fsqrt', 'd9 fb: fsincos',
  'd9 fc: frndint', 'd9 fd: fscale', 'd9 fe: fsin', 'd9 ff: fcos',

  'da /0: fiadd Md', 'da /1: fimul Md', 'da /2: ficom Md', 'da /3: ficomp Md',
  'da /4: fisub Md', 'da /5: fisubr Md', 'da /6: fidiv Md', 'da /7: fidivr Md',
  'da c0+i: fcmovb ST0,STi', 'da c8+i: fcmove ST0,STi', 'da d0+i: fcmovbe ST0,STi',
  'da d8+i: fcmovu ST0,STi', 'da e9: fucompp',

  'db /0: fild Md', 'db /1: fisttp Md', 'db /2: fist Md', 'db /3: fistp Md', 'db /5: fld Mt', 'db /7: fstp Mt',
  'db c0+i: fcmovnb ST0,STi', 'db c8+i: fcmovne ST0,STi', 'db d0+i: fcmovnbe ST0,STi', 'db d8+i: fcmovnu ST0,STi',
  'db e0: fnop', 'db e1: fnop', 'db e2: fnclex', 'db e3: fninit', 'db e4: fnop',
  'db e8+i: fucomi ST0,STi', 'db f0+i: fcomi ST0,STi',

  'dc /0: fadd Mq', 'dc /1: fmul Mq', 'dc /2: fcom Mq', 'dc /3: fcomp Mq',
  'dc /4: fsub Mq', 'dc /5: fsubr Mq', 'dc /6: fdiv Mq', 'dc /7: fdivr Mq',
  'dc c0+i: fadd STi,ST0', 'dc c8+i: fmul STi,ST0', 'dc d0+i: fcom STi', 'dc d8+i: fcomp STi',
  'dc e0+i: fsubr STi,ST0', 'dc e8+i: fsub STi,ST0', 'dc f0+i: fdivr STi,ST0', 'dc f8+i: fdiv STi,ST0',

  'dd /0: fld Mq', 'dd /1: fisttp Mq', 'dd /2: fst Mq', 'dd /3: fstp Mq',
  'dd /4: frstor M size=z', 'dd /6: fnsave M size=z', 'dd /7: fnstsw Mw',
  'dd c0+i: ffree STi', 'dd c8+i: fxch STi', 'dd d0+i: fst STi', 'dd d8+i: fstp STi',
  'dd e0+i: fucom STi', 'dd e8+i: fucomp STi',

  'de /0: fiadd Mw', 'de /1: fimul Mw', 'de /2: ficom Mw', 'de /3: ficomp Mw',
  'de /4: fisub Mw', 'de /5: fisubr Mw', 'de /6: fidiv Mw', 'de /7: fidivr Mw',
  'de c0+i: faddp STi,ST0', 'de c8+i: fmulp STi,ST0', 'de d0+i: fcomp STi', 'de d9: fcompp',
  'de e0+i: fsubrp STi,ST0', 'de e8+i: fsubp STi,ST0', 'de f0+i: fdivrp STi,ST0', 'de f8+i: fdivp STi,ST0',

  'df /0: fild Mw', 'df /1: fisttp Mw', 'df /2: fist Mw', 'df /3: fistp Mw',
  'df /4: fbld Mt', 'df /5: fild Mq', 'df /6: fbstp Mt', 'df /7: fistp Mq',
  'df c0+i: ffreep STi', 'df c8+i: fxch STi', 'df d0+i: fstp STi', 'df d8+i: fstp STi', 'df e0: fnstsw AX size=w',
  'df e8+i: fucomip ST0,STi', 'df f0+i: fcomip ST0,STi',
] as const
