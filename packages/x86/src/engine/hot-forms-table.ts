/** Forms with a handler of their own in the dispatch function, most frequent first: from profiles of kernel boots. */
export const hotForms: readonly string[] = `
sha256rnds2.16.xx sha256msg1.16.xx sha256msg2.16.xx mov.8.rmb mov.8.mrb mov.8.rr movzx.4.rmb.s1 lea.8.rmx mov.4.rr mov.1.mrb add.8.ri.f add.8.rr.f mov.4.rmb
movzx.4.rmb.s2 add.8.rr jmp.8.? movzx.4.rr.s1 add.8.ri mov.4.mrb test.1.rr.f+jcc.8.?.c4 shrx.8.rrr.v add.4.ri
bzhi.8.rrr.v cmp.8.rr.f+jcc.8.?.c5 cmp.8.ri.f+jcc.8.?.c7 imul.8.rr add.4.rr cmp.1.ri.f+jcc.8.?.c4 sub.8.rr.f
lea.8.rmb sub.8.rr mov.2.mrb cmp.8.rr.f+jcc.8.?.c3 call.8.? neg.4.r.f cmp.8.mrb.f+jcc.8.?.c2 xor.4.rr
test.1.mib.f+jcc.8.?.c5 nop.0. mov.8.rmx cmp.1.mib.f+jcc.8.?.c5 and.4.ri neg.4.r cmp.8.ri.f+jcc.8.?.c6
add.4.rmb.f cmp.4.rr.f+jcc.8.?.c5 cmp.4.ri.f+jcc.8.?.c7 nop.4.mx lea.4.rmx movzx.4.rmx.s2 mov.4.ri
shlx.8.rrr.v test.1.rr.f+jcc.8.?.c9 rol.8.ri cmp.1.ri.f+jcc.8.?.c5 pop.8.r shr.8.ri.f add.4.rr.f push.8.r
ret.8. cmp.1.ri.f+jcc.8.?.c6 lea.4.rmb cmp.8.rr.f+jcc.8.?.c2 xor.4.rr.f cmp.8.rmb.f+jcc.8.?.c3
cmp.4.ri.f+jcc.8.?.c4 cmp.1.ri.f+jcc.8.?.c7 cmp.8.rr.f+jcc.8.?.c4 shr.4.ri.f test.1.rr.f+jcc.8.?.c5 shr.8.ri
movzx.4.rmx.s1 sub.4.ri.f+jcc.8.?.c5 mov.4.rmx mov.8.mix imul.8.rr.f or.8.rr test.4.rr.f+jcc.8.?.c5 cmp.8.rr.f
nop.4.r cmp.8.ri.f+jcc.8.?.c14 mov.8.mrx test.8.rr.f+jcc.8.?.c4 movsx.8.rmb.s4 shlx.8.rmrb.v shl.8.ri nop.4.mb
cmp.4.ri.f+jcc.8.?.c6 movsx.8.rr.s4 mov.8.mib test.4.rr.f mov.8.ri sub.8.ri.f cmp.4.mrb.f+jcc.8.?.c4 nop.2.mx
cmp.1.rmx.f+jcc.8.?.c4 cmp.1.mib.f+jcc.8.?.c4 and.4.ri.f test.4.rr.f+jcc.8.?.c4 cmp.4.ri.f mov.8.rmb.gs
mov.4.mib rol.8.ri.@7.f add.4.ri.f setcc.1.r.c4.@14 mov.1.mib sub.4.rr.f cmp.8.rmb.f+jcc.8.?.c9
cmp.8.ri.f+jcc.8.?.c4 sbb.8.ri.@10.f cmp.4.rr.f+jcc.8.?.c2 cmp.8.mrb.f+jcc.8.?.c5 test.8.rr.f+jcc.8.?.c5
sar.8.ri sar.8.ri.f add.8.rmb.f sub.8.ri cmp.4.ri.f+jcc.8.?.c2 cmp.8.ri.f+jcc.8.?.c5 mov.4.mrx and.8.rr
setcc.1.r.c2.@11 and.4.rr movsx.8.rmx.s4 shlx.4.rrr.v setcc.1.r.c4.@11 and.8.ri mov.2.mrx cmovcc.8.rr.c3.@11
cmovcc.8.rr.c2.@11 sub.8.rmb.f sub.4.rr lzcnt.4.rr sub.8.mrb.f tzcnt.8.rr.f or.4.ri.f cmp.4.ri.f+jcc.8.?.c5
movzx.4.rr.s2 cmp.8.ri.f+jcc.8.?.c3 cmp.4.rr.f+jcc.8.?.c3 add.4.mib.f rol.4.ri cmp.4.rr.f+jcc.8.?.c13
cmp.4.mib.f+jcc.8.?.c4 cmp.1.rr.f+jcc.8.?.c5 shr.4.ri sub.8.rmb.gs.f+jcc.8.?.c5 cmovcc.8.rmb.c3.@11
cmp.4.rmb.f+jcc.8.?.c3 dec.4.mb.gs.f+jcc.8.?.c4 and.8.rmb.f shl.8.ri.f sub.4.ri or.8.ri.f
cmp.4.mib.f+jcc.8.?.c5 or.8.ri test.1.ri.f+jcc.8.?.c5 inc.4.mb.gs.f and.8.mib.f or.8.rr.f+jcc.8.?.c4
mov.4.rmb.gs btr.8.mib.f cmp.8.rmb.f+jcc.8.?.c2 test.1.ri.f+jcc.8.?.c4 or.4.rr and.4.ri.f+jcc.8.?.c4
inc.8.r.@14.f cmp.8.ri.f+jcc.8.?.c2 test.4.ri.f+jcc.8.?.c4 cmp.1.mib.f test.1.rr.f sub.4.mib.f+jcc.8.?.c5
shl.4.ri cmovcc.8.rr.c5.@11 sbb.4.rr test.4.rr.f+jcc.8.?.c8 setcc.1.r.c2.@7 call.8.mb pause.0. and.8.ri.f
sub.8.rmx.f test.4.ri.f+jcc.8.?.c5 call.8.r sar.4.ri cmp.4.rr.f cmp.8.ri.f cmp.8.rr.f+jcc.8.?.c7 mov.1.mrx
or.8.rr.f jcc.8.?.c5.@22 test.8.rr.f dec.4.r.f add.8.mrb.f neg.8.r leave.8. not.8.r tzcnt.8.rr
cmp.1.mrx.f+jcc.8.?.c5 cmovcc.8.rr.c14.@14 mul.8.mb.f xor.4.ri cmp.8.mib.f+jcc.8.?.c4 cmp.8.mrb.f+jcc.8.?.c4
cli.0. test.1.mib.f+jcc.8.?.c4 pushf.8. cmp.4.rr.f+jcc.8.?.c14 jcc.8.?.c5.@14 jcc.8.?.c2.@2 mov.1.rr
cmp.4.rr.f+jcc.8.?.c4 cmovcc.4.rr.c5.@12 cmovcc.4.rr.c15.@10 add.4.mix.f jcc.8.?.c5.@8 sbb.4.ri.@8 sbb.4.rr.@8
add.8.ri.f+jcc.8.?.c4 sbb.4.rr.@10.f jcc.8.?.c5.@11 jcc.8.?.c7 and.1.ri.f+jcc.8.?.c4 bt.8.mib.@11.f
jcc.8.?.c4.@12 cmp.4.rr.f+jcc.8.?.c15 sbb.8.ri.@11 rol.4.ri.@14 jcc.8.?.c5.@23 dec.8.r.f sub.4.rr.f+jcc.8.?.c4
inc.4.r cmpxchg.8.mrb.f and.8.rr.f sti.0. test.8.mib.f+jcc.8.?.c5 add.4.mrb.f shl.8.rr cmp.8.mib.f+jcc.8.?.c5
cmp.1.ri.f test.1.rr.f+jcc.8.?.c8 and.4.ri.f+jcc.8.?.c5 cmovcc.8.rr.c4.@15 jcc.8.?.c8.@6 cbw.8.
inc.4.mb.gs.@14.f test.1.ri.f or.4.rr.f jcc.8.?.c5.@10 shrd.8.rri.f cmpxchg.4.mrb.f cmp.8.rmb.f+jcc.8.?.c4
shl.8.rr.f stos.1..repe cmp.8.mrb.f xadd.8.mrb.f rol.4.ri.@14.f jcc.8.?.c6 not.4.r inc.4.mb.gs.@11.f
shl.4.ri.f shr.8.rr mul.8.mx.f cmp.4.rmb.f+jcc.8.?.c4 cmp.2.ri.f+jcc.8.?.c5 shl.4.rr.f test.4.rr.f+jcc.8.?.c9
mov.1.rmb test.8.ri.f+jcc.8.?.c4 test.8.mib.f+jcc.8.?.c4 cmovcc.4.rr.c8.@14 jcc.8.?.c4.@11 cmovcc.8.rr.c7.@11
cmovcc.8.rr.c5.@14 or.1.rr.f+jcc.8.?.c5 jcc.8.?.c3.@2 cmovcc.8.rr.c5.@15 setcc.1.r.c5.@15 jmp.8.r xor.8.rr
movsx.4.rr.s1 setcc.1.r.c5.@12 inc.8.r add.8.rmb.gs.f cmp.4.mrb.f+jcc.8.?.c2 cmp.2.mib.f+jcc.8.?.c4
test.4.rr.f+jcc.8.?.c14 bt.8.mrb.f rol.4.ri.@6 and.1.rmb.f+jcc.8.?.c5 shld.8.rri sub.4.mib.f add.8.mib.f
setcc.1.r.c5.@10 and.4.rr.f or.8.rmb.f add.4.rmx.f cmovcc.4.rr.c9.@14 setcc.1.r.c5.@11 cmp.4.rr.f+jcc.8.?.c12
movs.1..repe cmp.8.rmb.f+jcc.8.?.c5 cmp.2.rr.f cmp.8.ri.f+jcc.8.?.c15 xor.4.ri.f shr.4.rr
cmp.4.rmb.f+jcc.8.?.c2 add.2.rmb.f dec.4.mb.gs.@7.f+jcc.8.?.c4 jcc.8.?.c4.@14 imul.8.rri mov.8.mrb.gs
cmovcc.8.rr.c5.@8 mov.1.mix cmp.4.mrb.f+jcc.8.?.c14 setcc.1.r.c15.@9 cmp.2.ri.f+jcc.8.?.c4 shl.4.rr
bt.8.mrb.@14.f cmp.1.mrb.f+jcc.8.?.c5 shrd.8.rri bsr.4.rr sub.4.ri.f cmp.8.mib.f+jcc.8.?.c7 sar.8.rr
add.8.rr.f+jcc.8.?.c2 cmp.8.rmb.f test.2.mib.f cmovcc.4.rr.c5.@13 imul.8.rri.f cmovcc.8.rr.c6.@11
setcc.1.mb.c5.@15 sub.4.rmb.f cmovcc.8.rr.c4.@11 cmovcc.8.rr.c8.@11 btr.8.mrb.f cmovcc.8.rr.c5.@12 shr.8.rr.f
cmp.4.rr.f+jcc.8.?.c7 movzx.4.rmb.s1.gs or.1.mrb.f bts.8.mrb.f cmp.2.ri.f+jcc.8.?.c14 sub.4.ri.f+jcc.8.?.c8
xor.1.rr.f cmovcc.8.rr.c4.@14 setcc.1.r.c5.@14 cmp.4.mrb.f+jcc.8.?.c15 rol.4.ri.@2.f cmp.4.ri.f+jcc.8.?.c14
test.1.mib.f add.8.rmx.f neg.8.r.f cmp.4.mib.f+jcc.8.?.c7 push.8.i or.8.rmb.f+jcc.8.?.c5
and.8.rmx.f+jcc.8.?.c5 cmp.4.ri.f+jcc.8.?.c15 cmp.8.mrb.f+jcc.8.?.c3 movsx.4.rmx.s2 movsx.8.rmb.s2
test.4.rr.f+jcc.8.?.c15 bswap.8.r test.1.mib.gs.f+jcc.8.?.c5 or.2.mib.f cmovcc.4.rr.c5.@14 add.1.mib.f
cmp.8.mib.f inc.4.mb.f mov.8.mib.gs cmp.4.mrb.f+jcc.8.?.c5 movsx.8.rmb.s1.gs setcc.1.r.c14.@14
movzx.4.rmb.s2.gs cmp.1.mib.gs.f div.8.r mov.2.rr xor.8.rr.f mov.2.mrb.gs or.4.rmb.f+jcc.8.?.c4 cmp.8.mrb.gs.f
jcc.8.?.c4.@31 shr.1.ri cmp.4.mib.f inc.8.r.@2 cmp.1.rr.f+jcc.8.?.c2 setcc.1.r.c4.@10 jcc.8.?.c4
add.8.mrx.gs.f cmp.1.rr.f+jcc.8.?.c4 cmp.2.ri.f+jcc.8.?.c6 xor.8.ri.f+jcc.8.?.c5 sub.4.rr.f+jcc.8.?.c8
dec.4.mb.gs.f cmp.1.mrb.f+jcc.8.?.c4 add.8.rr.f+jcc.8.?.c4 mul.8.r mov.4.mix jcc.8.?.c15 cmovcc.4.rr.c2.@11
xor.1.rr cmp.4.rmb.f+jcc.8.?.c5 sub.4.ri.f+jcc.8.?.c4 test.8.rr.f+jcc.8.?.c14 setcc.1.r.c4.@15
movsx.8.rmb.s4.gs cmp.2.ri.f+jcc.8.?.c7 movsx.4.rmb.s2 or.4.rr.f+jcc.8.?.c4 or.4.ri inc.4.r.@14.f
cmovcc.8.rr.c4.@12 xor.8.rmb.f cmp.8.mix.f+jcc.8.?.c4 cmp.8.rr.f+jcc.8.?.c15 or.1.mib.f add.1.rr add.1.rr.f
shr.2.ri bt.8.rr.f cmp.1.rr.f+jcc.8.?.c3 or.1.ri.f cmp.1.rmx.f+jcc.8.?.c5 cmovcc.8.rr.c13.@11
cmovcc.4.rr.c13.@10 setcc.1.r.c3.@11 bzhi.8.rrr.v.f sbb.8.rr.@8 cmovcc.4.rr.c14.@11 cmp.1.mib.gs.f+jcc.8.?.c5
setcc.1.r.c4.@8 setcc.1.mb.c4.@10 cmovcc.4.rr.c2.@10 jcc.8.?.c4.@22 cmp.4.mib.f+jcc.8.?.c6
cmp.4.mrb.f+jcc.8.?.c3 cmp.8.rmb.gs.f+jcc.8.?.c4 jcc.8.?.c14 dec.4.r.@30.f bt.8.mrb.@31.f cmovcc.4.rr.c12.@10
cmovcc.8.rr.c2.@10 imul.4.rmb.f or.8.rr.f+jcc.8.?.c5 movd.4.xmx add.8.mrx.f bts.8.ri.@15.f
add.8.rmb.f+jcc.8.?.c2 pushf.8..@15 cmovcc.4.rr.c4.@8 movsx.8.rr.s1 cmp.1.rr.f cmovcc.4.rr.c13.@11
cmpxchg.1.mrb.gs.f sub.4.ri.f+jcc.8.?.c2 pxor.16.xx imul.4.rr movzx.8.rmx.s1 xadd.4.mrb.f setcc.1.r.c3.@2
cmp.1.rmb.f+jcc.8.?.c3 ror.4.ri setcc.1.r.c5.@8 cmovcc.4.rr.c2.@8 or.4.mib.f jcc.8.?.c5.@31 setcc.1.r.c6.@10
paddd.16.xx cmp.4.ri.f+jcc.8.?.c8 test.2.rr.f+jcc.8.?.c5 cmp.8.rr.f+jcc.8.?.c13 setcc.1.r.c15.@10 or.1.ri
setcc.1.r.c7.@10 cmp.8.rr.f+jcc.8.?.c12 and.8.rr.f+jcc.8.?.c5 sub.8.mrb.f+jcc.8.?.c5 sub.8.ri.f+jcc.8.?.c4
cmovcc.4.rr.c4.@12 cmovcc.8.rmb.c4.@12 mov.2.rmb movs.4..repe inc.4.mb.@15.f inc.4.r.@11.f and.4.mib.f
dec.4.mb.f+jcc.8.?.c4 cmovcc.4.rr.c4.@14 sub.8.mib.f cmovcc.8.rr.c8.@15 pushf.8..@14 setcc.1.r.c4.@12
jcc.8.?.c9.@11 jcc.8.?.c4.@15 cmp.4.mrb.f+jcc.8.?.c13 add.8.mix.f jcc.8.?.c4.@10 shr.4.rr.f cmovcc.4.rr.c5.@10
and.1.rr.f+jcc.8.?.c5 cmp.8.mrx.f+jcc.8.?.c2 sar.4.ri.f cmp.2.mib.f+jcc.8.?.c5 and.1.mib.f
dec.4.mb.gs.@7.f+jcc.8.?.c5 mov.1.mrb.gs sub.8.rr.f+jcc.8.?.c8 dec.4.mb.gs.f+jcc.8.?.c5 sub.4.mrb.f
or.4.rr.f+jcc.8.?.c8 dec.4.mb.f+jcc.8.?.c5 punpckldq.16.xx cmp.4.mrb.gs.f movsx.4.rr.s2 setcc.1.r.c2.@2
cmp.8.mrb.gs.f+jcc.8.?.c5 push.8.mb cmp.8.mrx.f+jcc.8.?.c4 tzcnt.4.rr jcc.8.?.c4.@8 bts.8.mib.f
test.8.rr.f+jcc.8.?.c8 cmp.8.mib.f+jcc.8.?.c9 cmp.8.mrb.f+jcc.8.?.c15 setcc.1.r.c12.@9 movsx.8.rmx.s2 and.2.ri
shr.1.ri.f inc.8.mb.gs.f and.1.ri jcc.8.?.c5 test.2.mib.f+jcc.8.?.c5 shrx.4.rmrb.v jcc.8.?.c5.@12
cmovcc.4.rr.c4.@11 sbb.4.rr.@10 xchg.4.rr cmp.4.mib.f+jcc.8.?.c12 inc.8.r.@14 dec.4.mb.gs.@18.f+jcc.8.?.c4
cmovcc.8.rr.c14.@10 cmovcc.8.rr.c14.@15 add.8.mrb.gs.f xor.8.ri.f+jcc.8.?.c4 test.8.ri.f+jcc.8.?.c5 or.1.rmb.f
xor.1.mib.f+jcc.8.?.c8 punpcklqdq.16.xx cmp.4.rmb.gs.f movdqu.16.xmb or.8.rmb.gs.f add.8.ri.f+jcc.8.?.c8
test.2.rr.f+jcc.8.?.c4 cmovcc.4.rr.c4.@10 sub.4.mrb.f+jcc.8.?.c5 and.1.ri.f+jcc.8.?.c5 cmp.4.rmb.f bswap.4.r
cmp.4.rmb.gs.f+jcc.8.?.c5 cmovcc.8.rr.c12.@11 cmovcc.4.rr.c14.@10 pcmpeqb.32.xxx.v shrd.8.rrr.f
cmp.4.mib.f+jcc.8.?.c14 cmp.8.rr.f+jcc.8.?.c14 setcc.1.r.c4.@18 imul.8.rmx.f sub.8.ri.f+jcc.8.?.c5
movdqa.16.xx sbb.4.rr.@11 jcc.8.?.c7.@10 cmp.4.ri.f+jcc.8.?.c12 test.8.mib.f add.4.mib.f+jcc.8.?.c9
and.4.rmb.f movzx.8.rmb.s1 sub.8.rmb.gs.f+jcc.8.?.c4 and.1.rr.f setcc.1.mb.c4.@15 pushf.8..@11
test.4.mrb.f+jcc.8.?.c5 cmp.8.rmb.f+jcc.8.?.c8 dec.4.r.@7.f+jcc.8.?.c5 pshufb.16.xx imul.8.rmb.f tzcnt.8.rmb.f
add.1.rmb.f cmovcc.4.rr.c7.@10 sar.4.rr dec.4.mb.gs.@22.f+jcc.8.?.c4 cmp.2.rr.f+jcc.8.?.c5 and.1.ri.f
shr.1.mib.f setcc.1.r.c15.@11 test.8.rr.f+jcc.8.?.c9 cmp.8.mib.f+jcc.8.?.c3 stos.4..repe por.16.xx
test.8.mrb.f inc.8.r.f pmovmskb.4.rx.s32.v and.8.rmx.f test.2.mib.gs.f+jcc.8.?.c5 cwd.8. idiv.8.r imul.8.r
sbb.8.rr.@11.f or.4.rr.f+jcc.8.?.c5 setcc.1.r.c13 cmovcc.8.rr.c4.@10 cmp.8.mrb.f+jcc.8.?.c8 jcc.8.?.c4.@7
jcc.8.?.c3.@11 sub.8.rmb.f+jcc.8.?.c8 imul.4.rri cmp.4.mrb.f+jcc.8.?.c12 cmp.4.mib.f+jcc.8.?.c15 and.2.ri.f
div.4.r cmp.1.mix.f+jcc.8.?.c4 sub.8.mix.f sbb.8.rr.@10.f setcc.1.r.c14.@10 mov.1.ri and.4.rr.f+jcc.8.?.c5
and.4.rr.f+jcc.8.?.c4 jmp.8.mb cmp.8.mib.f+jcc.8.?.c6 setcc.1.mb.c7.@10 inc.8.mx.gs.f or.4.rmb.gs.f+jcc.8.?.c4
sar.2.mib.f cmp.4.rr.f+jcc.8.?.c6 setcc.1.mb.c6.@10 movups.16.mxb cmp.1.mib.gs.f+jcc.8.?.c4 pxor.16.xxx.v
vzeroupper.0..v cmp.4.rmb.f+jcc.8.?.c13 imul.4.rmib.f cmp.1.mib.f+jcc.8.?.c8 bsf.4.rr cmp.8.mix.f+jcc.8.?.c5
cmp.2.mrb.f+jcc.8.?.c5 jcc.8.?.c5.@15 sbb.4.ri.@10.f pshufd.16.xxi.#78 cmp.2.rr.f+jcc.8.?.c4 inc.4.r.@43.f
inc.4.r.@27.f cmovcc.4.rr.c14.@14 movs.8..repe dec.4.mb.gs.@2.f+jcc.8.?.c4 cmp.1.rmb.f+jcc.8.?.c2
cmovcc.8.rr.c9.@15 or.4.rmb.f bts.8.mib.@18.f sub.4.rr.f+jcc.8.?.c5 por.32.xxx.v cmovcc.8.rr.c14.@11
mov.1.mib.gs shrx.4.rrr.v sub.4.ri.f+jcc.8.?.c3 andn.8.rrr.v or.2.rr.f+jcc.8.?.c5 or.2.rmb.f+jcc.8.?.c5
and.8.mrb.f btr.8.mib.@7.f jcc.8.?.c14.@14 xchg.8.rr cmp.8.mrx.f+jcc.8.?.c5 cmovcc.4.rr.c6.@10
and.8.rmb.f+jcc.8.?.c4 movd.8.xr psrld.16.xi.#12 pslld.16.xi.#20 psrld.16.xi.#7 pslld.16.xi.#25
pshufd.16.xxi.#147 pshufd.16.xxi.#57 ror.4.ri.@14.f cmp.4.mrb.f cmp.4.mrx.f movdqu.32.xmb.v jcc.8.?.c3
ror.8.ri cmp.1.rmb.f+jcc.8.?.c4 btr.8.mib.@15.f inc.4.mb.gs.@30.f setcc.1.r.c7.@8 cmovcc.8.rr.c5.@10
xor.1.ri.f sbb.8.rr.@10 movaps.16.xx add.4.ri.f+jcc.8.?.c3 dec.4.mb.f+jcc.8.?.c9 inc.8.mx.gs.@27.f
test.1.mix.f+jcc.8.?.c4 test.4.ri.f test.2.ri.f+jcc.8.?.c4 dec.8.r movd.4.xr.v jcc.8.?.c2.@10
sub.8.ri.f+jcc.8.?.c3 cmpxchg.8.mrx.f cmovcc.8.rr.c4.@8 jcc.8.?.c4.@30 inc.8.mb.@27.f add.4.mrb.gs.f
jcc.8.?.c6.@11 adc.4.ri.@11 setcc.1.r.c7.@11 movsx.4.rmb.s1 cmovcc.8.rr.c15.@15 bts.8.mib.@2.f
cmovcc.4.rr.c5.@11 add.4.mib.gs.f rol.2.ri.f cmpxchg.4.mrb.gs.f rol.8.rr.f setcc.1.r.c15.@14
cmovcc.4.rr.c15.@14 inc.4.mb.gs.@18.f dec.4.mb.gs.@18.f bsr.8.rr xor.4.rmb.f inc.8.r.@43.f imul.4.rri.f
test.8.mrb.f+jcc.8.?.c5 or.4.mrb.f sar.4.rr.f cmp.1.mix.f+jcc.8.?.c7 cmp.4.mrb.gs.f+jcc.8.?.c5
cmp.4.rmb.f+jcc.8.?.c14 setcc.1.r.c2.@10 test.2.mib.gs.f+jcc.8.?.c4 shr.2.ri.f add.8.rmb.f+jcc.8.?.c4
mul.8.r.f cmp.8.rmb.f+jcc.8.?.c12 bts.8.ri or.4.mib.gs.f cmp.2.ri.f cmp.1.mix.f+jcc.8.?.c5
test.8.mrb.f+jcc.8.?.c4 jcc.8.?.c2.@11 cmp.8.mib.gs.f+jcc.8.?.c4 mov.8.rmb.fs rol.8.ri.@7
cmp.4.ri.f+jcc.8.?.c3 inc.4.mb.gs.@7.f lfence.0. jcc.8.?.c6.@10 pcmpeqb.32.xxmb.v tzcnt.4.rr.f
cmp.1.rmb.f+jcc.8.?.c5 or.8.mrb.f jcc.8.?.c14.@10 jcc.8.?.c13 movdqa.32.xmb.v test.8.mrx.f
sub.8.rr.f+jcc.8.?.c4 bts.8.ri.f cmp.1.mrb.f+jcc.8.?.c3 bt.8.mrb.@30.f test.1.mib.gs.f+jcc.8.?.c4 xor.2.rr
xor.8.rmx.f inc.4.mb.@11.f imul.8.rmib.f dec.4.mb.gs.@6.f+jcc.8.?.c4 test.4.mib.f+jcc.8.?.c5 movdqa.16.xmb
sub.1.mib.f or.4.rmb.f+jcc.8.?.c5 cld.0. test.2.mib.f+jcc.8.?.c4 ror.4.ri.@6 setcc.1.r.c4 jcc.8.?.c3.@10
sbb.4.ri.@11 xchg.8.mrb cmp.2.mib.gs.f+jcc.8.?.c4 pslldq.16.xi.#8 popcnt.8.rr bt.4.rr.f neg.8.r.f+jcc.8.?.c9
movdqu.16.mxb cmp.8.rmb.f+jcc.8.?.c14 btr.8.mib.@11.f cmp.4.rmb.f+jcc.8.?.c15 setcc.1.r.c4.@22
cmovcc.8.rr.c9.@11 bts.8.ri.@15 xchg.4.mrb test.8.rr.f+jcc.8.?.c15 sub.1.rmb.f xor.1.mib.f cmovcc.4.rr.c4
jcc.8.?.c4.@13 psrldq.16.xi.#8 psrlq.16.xi.#1 bt.8.mrb.@11.f inc.8.r.@15 ror.4.ri.@14 inc.4.r.f add.2.ri
inc.8.mb.gs.@11.f cmovcc.4.rr.c4.@9 movups.16.xmb jcc.8.?.c8.@8 cmp.1.rr.f+jcc.8.?.c12 cmp.8.mrb.f+jcc.8.?.c9
jcc.8.?.c5.@30 cmp.1.mib.f+jcc.8.?.c9 cmp.4.rmb.f+jcc.8.?.c12 cmp.4.rmb.gs.f+jcc.8.?.c4 cmp.4.ri.f+jcc.8.?.c13
bts.8.ri.@14 sub.1.ri.f+jcc.8.?.c4 dec.4.r.@7.f add.4.ri.f+jcc.8.?.c4 cmp.8.rmb.f+jcc.8.?.c15 mov.1.rmx
sbb.1.ri.@10 cmovcc.4.rr.c7.@9 cmp.8.rr.f+jcc.8.?.c8 setcc.1.r.c5 and.8.rr.f+jcc.8.?.c4 sbb.1.ri.@10.f
cmp.8.rmb.f+jcc.8.?.c13 cmovcc.4.rr.c3.@11 ror.4.ri.@2.f test.2.rr.f and.8.rmx.f+jcc.8.?.c4 or.1.rr.f
dec.8.mb.gs.f movdqa.32.mxb.v cmovcc.4.rr.c2.@6 dec.4.mb.f dec.4.mb.gs.@7.f or.2.ri movd.4.xr inc.4.mx.gs.f
jcc.8.?.c5.@6 or.2.mrb.gs.f mov.8.mrb.fs dec.8.r.@7.f+jcc.8.?.c5 test.4.mib.gs.f+jcc.8.?.c5 punpckhqdq.16.xx
inc.4.mb.gs.@42.f bts.8.mix.@30.f cmp.8.mib.f+jcc.8.?.c14 cmovcc.4.rr.c4.@13 and.8.ri.f+jcc.8.?.c5
cmovcc.4.rr.c3.@10 cmp.8.mrb.f+jcc.8.?.c14 cmp.2.mix.f+jcc.8.?.c7 dec.8.r.@15.f cmp.4.mix.f+jcc.8.?.c4
cmp.8.rmx.f+jcc.8.?.c4 cmp.8.rr.f+jcc.8.?.c9 rol.8.ri.@15.f cmp.8.mib.f+jcc.8.?.c15 setcc.1.mb.c2.@2
dec.4.r.@22.f+jcc.8.?.c5 dec.8.r.@31.f bt.4.rr.@14.f cmpxchg.8.mrb.gs.f ror.4.ri.@6.f rol.4.ri.@6.f
jcc.8.?.c2.@8 cmovcc.4.rr.c5.@8 and.1.rr.f+jcc.8.?.c4 jcc.8.?.c15.@10 psllq.16.xi.#1 psllq.16.xi.#5
psllq.16.xi.#57 psrlq.16.xi.#5 add.1.mrb.f ror.8.ri.@2.f or.2.ri.f and.2.mib.f mov.4.mib.gs
cmovcc.8.rr.c15.@11 cmovcc.4.rr.c8.@10 jcc.8.?.c2 test.2.ri.f jcc.8.?.c8.@14 movsx.8.rr.s2 add.2.mrb.f
palignr.16.xxi.#4 or.8.mrx.f setcc.1.mb.c4.@8 bts.8.rr.f test.4.mib.f+jcc.8.?.c4 push.8.mb.gs bt.8.ri.f
jcc.8.?.c7.@11 bsr.4.rr.f and.1.rmb.f+jcc.8.?.c4 setcc.1.r.c5.@13 cmp.2.mib.gs.f+jcc.8.?.c5 or.8.mib.f
sub.1.ri.f add.1.ri.f+jcc.8.?.c4 cmovcc.4.rmb.c2.@10 setcc.1.r.c4.@9 setcc.1.mb.c4.@11 sub.4.rmx.f
and.8.ri.f+jcc.8.?.c4 cmovcc.8.rmb.c4.@15 add.4.rr.f+jcc.8.?.c4 cmovcc.4.rr.c5.@15 sub.8.rr.f+jcc.8.?.c5
sub.1.rr.f+jcc.8.?.c4 bsr.8.rmb.f bts.8.mrb.@14.f bts.8.mib.@15.f btr.8.ri.@15.f cmovcc.4.rr.c9.@12
pandn.32.xxx.v dec.4.mb.gs.@12.f+jcc.8.?.c4 movaps.16.mxb dec.4.mb.gs.@14.f+jcc.8.?.c4 imul.4.rr.f
cmovcc.4.rmb.c4.@10 btr.8.ri.f mov.2.mib and.1.rmb.f cmp.4.ri.f+jcc.8.?.c9 sub.8.rmb.fs.f+jcc.8.?.c5
movdqu.32.mxb.v neg.1.r.f cmp.4.mib.f+jcc.8.?.c8 add.1.rmx.f movq.8.mxb and.4.mib.gs.f
sub.8.rmb.fs.f+jcc.8.?.c4 btr.8.mib.@2.f add.8.rr.f+jcc.8.?.c8 cmp.8.mix.f or.4.mrx.f movups.16.mxx
setcc.1.mb.c5.@11 xadd.8.mrx.f bt.8.mrx.f cmovcc.4.rr.c6.@8 bts.8.mib.@11.f jcc.8.?.c3.@8 bts.8.mib.@14.f
xadd.8.mrb.gs.f jcc.8.?.c4.@9 sbb.4.rr.@11.f add.8.rmb.f+jcc.8.?.c9 sub.8.mib.f+jcc.8.?.c4
add.4.mib.f+jcc.8.?.c8 cmovcc.4.rr.c3.@9 movdqu.32.xmx.v bsf.4.rmb.f rol.8.rr.@6.f and.8.mrb.f+jcc.8.?.c5
or.4.rr.f+jcc.8.?.c9 cmovcc.8.rmb.c4.@9 test.4.mib.gs.f+jcc.8.?.c4 sub.2.rmb.f movd.4.xmb
test.4.mrx.f+jcc.8.?.c4 cmp.2.mib.f and.1.mrb.f dec.4.mb.gs.@15.f+jcc.8.?.c4 setcc.1.r.c15.@15 and.2.mrb.f
inc.4.r.f+jcc.8.?.c4 inc.4.mb.@7.f or.8.rmx.f or.1.rr.f+jcc.8.?.c4 and.4.rmb.f+jcc.8.?.c5 popcnt.4.rr
pslldq.16.xi.#4 bts.8.mrb.@2.f or.4.rmb.gs.f inc.4.r.@7.f bts.8.mib.@7.f bt.8.ri.@11.f dec.8.mb.@7.f
dec.4.mb.gs.@23.f+jcc.8.?.c4 btr.8.mib.@12.f cmp.4.mib.f+jcc.8.?.c9 cmovcc.8.rmb.c5.@11 cmp.8.rmx.f+jcc.8.?.c8
jcc.8.?.c9.@14 mov.4.rmb.fs xor.2.rr.f cwd.4. inc.4.mb.gs.@31.f sbb.4.ri.@11.f jcc.8.?.c4.@6 dec.4.r.@14.f
movaps.16.xmb paddq.16.xx pxor.16.xmb sub.8.ri.f+jcc.8.?.c8 sar.1.ri sub.4.ri.f+jcc.8.?.c6 cmovcc.4.rmb.c4.@14
cmovcc.8.rmb.c2.@11 pshufd.16.xxi.#0 test.2.rr.f+jcc.8.?.c8 stos.8..repe cmp.8.mib.f+jcc.8.?.c2
test.4.mrb.f+jcc.8.?.c4 sub.8.mib.f+jcc.8.?.c5 inc.8.mb.gs.@43.f dec.4.mb.gs.@19.f+jcc.8.?.c5 and.2.rmb.f
setcc.1.r.c4.@13 inc.4.r.f+jcc.8.?.c5 inc.8.mb.gs.@18.f rol.8.rr pcmpeqb.32.xxmx.v setcc.1.mb.c5.@14
xor.8.rmb.fs.f sub.4.mib.f+jcc.8.?.c4 cmp.4.rmb.fs.f+jcc.8.?.c4 idiv.4.r bsr.8.rr.f add.4.rmb.f+jcc.8.?.c2
bts.8.mrb.@6.f cmp.8.rmb.gs.f sub.4.ri.f+jcc.8.?.c15 adc.4.mib.@10.f ror.4.ri.f rol.4.ri.@2 ror.4.ri.@2
call.8.mx setcc.1.mb.c2 inc.4.mb.gs.@27.f movdqu.32.mxx.v cmovcc.8.rr.c2.@9 inc.8.r.@7.f dec.4.r.f+jcc.8.?.c4
dec.4.mb.@7.f+jcc.8.?.c5 dec.4.r.@11.f neg.4.r.f+jcc.8.?.c9 mul.4.r.f or.1.rr cmovcc.4.rr.c7.@8
movhps.16.xmb.s8 bt.8.mrb.@18.f jcc.8.?.c5.@7 add.4.rr.f+jcc.8.?.c2 bt.8.mib.f add.4.rr.f+jcc.8.?.c5
dec.4.mb.gs.@12.f+jcc.8.?.c5 dec.4.r.f+jcc.8.?.c5 cmp.8.rmx.f+jcc.8.?.c5 mov.4.mrb.fs cmovcc.8.rmb.c4.@11
cmp.2.mrb.f+jcc.8.?.c4 cmp.2.rr.f+jcc.8.?.c3 cmp.1.mib.f+jcc.8.?.c6 setcc.1.mb.c5.@10 and.2.mrx.f
setcc.1.r.c6.@9 dec.8.mb.@27.f idiv.4.mb xor.1.ri.f+jcc.8.?.c5 add.4.mrx.f dec.4.r.@6.f+jcc.8.?.c5
mov.8.rmx.gs jcc.8.?.c0.@43 cmovcc.4.rr.c4.@15 inc.8.r.@7 cmp.1.mrb.f+jcc.8.?.c2 dec.8.mb.@6.f inc.4.mb.@13.f
cmovcc.8.rmb.c5.@14 movd.4.rx mov.4.mib.fs punpcklwd.16.xx test.1.mix.f+jcc.8.?.c5 test.2.ri.f+jcc.8.?.c5
pshufd.16.xxi.#255 movq.8.mxb.v cmovcc.4.rr.c15 add.8.rmb.f+jcc.8.?.c8 dec.4.r.@14.f+jcc.8.?.c5
cmp.1.mib.f+jcc.8.?.c7 sbb.8.rr.@11 pshufd.16.xxi.#27 dec.1.r.f+jcc.8.?.c4 dec.4.r sub.2.ri
dec.4.mb.gs.@22.f+jcc.8.?.c5 and.4.mrb.f cmp.4.rmx.f+jcc.8.?.c12 xor.8.ri pshufd.16.xxi.#177
cmovcc.8.rmb.c9.@14 test.4.mib.f and.8.ri.f+jcc.8.?.c14 add.8.rmb.fs.f punpcklbw.16.xx cmp.8.rmb.f+jcc.8.?.c7
blsmsk.4.rr.v or.1.mix.f mov.2.rmx and.8.rmb.f+jcc.8.?.c5 movdqa.16.xmb.v pslldq.16.xxi.v.#8
psrldq.16.xxi.v.#8 bsf.4.rr.f movdqu.16.xmb.v rdtsc.0. rdtscp.0. serialize.0.
`.split(/\s+/).filter((name) => name !== '')
