/**
 * Two- and three-byte opcodes outside the vector extensions. Sources: SDM vol. 2 appendix A (tables ), APM
 * vol. 3 (SVM and SNP instructions), TDX: SDM vol. 3D and the TDX module specification (SEAMCALL, SEAMRET, SEAMOPS,
 * TDCALL). Notation: `notation.ts`.
 */
export const TWO_BYTE = [
  '0f 00 /0 reg: sldt Ev', '0f 00 /0 mem: sldt Ew', '0f 00 /1 reg: str Ev', '0f 00 /1 mem: str Ew',
  '0f 00 /2: lldt Ew', '0f 00 /3: ltr Ew', '0f 00 /4: verr Ew', '0f 00 /5: verw Ew',
  '0f 01 /0: sgdt M f64 size=v', '0f 01 /1: sidt M f64 size=v', '0f 01 /2: lgdt M f64 size=v', '0f 01 /3: lidt M f64 size=v',
  '0f 01 /4 reg: smsw Ev', '0f 01 /4 mem: smsw Ew', '0f 01 /6: lmsw Ew', '0f 01 /7: invlpg M',
  'np 0f 01 c1: vmcall', 'np 0f 01 c2: vmlaunch', 'np 0f 01 c3: vmresume', 'np 0f 01 c4: vmxoff',
  'np 0f 01 c8: monitor', 'np 0f 01 c9: mwait', 'np 0f 01 ca: clac', 'np 0f 01 cb: stac',
  '66 0f 01 cc: tdcall', '66 0f 01 cd m64: seamret', '66 0f 01 ce m64: seamops', '66 0f 01 cf m64: seamcall',
  'np 0f 01 d0: xgetbv', 'np 0f 01 d1: xsetbv', 'np 0f 01 d4: vmfunc',
  '0f 01 d8: vmrun', 'np 66 0f 01 d9: vmmcall', 'f3 f2 0f 01 d9: vmgexit', '0f 01 da: vmload', '0f 01 db: vmsave',
  '0f 01 dc: stgi', '0f 01 dd: clgi', '0f 01 de: skinit', '0f 01 df: invlpga',
  'np 0f 01 e8: serialize', 'np 0f 01 ee: rdpkru', 'np 0f 01 ef: wrpkru', '0f 01 f8 m64: swapgs', '0f 01 f9: rdtscp',
  'f3 0f 01 fd m64: rmpquery', 'f2 0f 01 fd m64: rmpread', 'f3 0f 01 fe m64: rmpadjust', 'f2 0f 01 fe m64: rmpupdate',
  'f3 0f 01 ff m64: psmash', 'f2 0f 01 ff: pvalidate',

  '0f 02: lar Gv,Ew', '0f 03: lsl Gv,Ew', '0f 05: syscall', '0f 06: clts', '0f 07: sysret size=y', '0f 08: invd',
  'np 66 f2 0f 09: wbinvd', 'f3 0f 09: wbnoinvd', '0f 0b: ud',
  // Prefetches, hints, ENDBR, RDSSP without CET, CLDEMOTE: they all do nothing and never touch memory.
  '0f 0d: nop Ev', '0f 18-1f: nop Ev',
  '0f 20: mov Rp,Cp', '0f 21: mov Rp,Dp', '0f 22: mov Cp,Rp', '0f 23: mov Dp,Rp',
  '0f 30: wrmsr', '0f 31: rdtsc', '0f 32: rdmsr', '0f 33: rdpmc', '0f 34: sysenter', '0f 35: sysexit size=y',
  '0f 40+c: cmovcc Gv,Ev', 'np 0f 78: vmread Ep,Gp', 'np 0f 79: vmwrite Gp,Ep', '0f 80+c: jcc Jz f64 size=v', '0f 90+c: setcc Eb',
  '0f a0: push FS d64 size=v', '0f a1: pop FS d64 size=v', '0f a2: cpuid', '0f a3: bt Ev,Gv', '0f a4: shld Ev,Gv,Ub', '0f a5: shld Ev,Gv,CL',
  '0f a8: push GS d64 size=v', '0f a9: pop GS d64 size=v', '0f aa: rsm', '0f ab: bts Ev,Gv lock', '0f ac: shrd Ev,Gv,Ub', '0f ad: shrd Ev,Gv,CL',
  'np 0f ae /0: fxsave M size=y', 'np 0f ae /1: fxrstor M size=y', 'np 0f ae /2: ldmxcsr Md', 'np 0f ae /3: stmxcsr Md',
  'np 0f ae /4: xsave M size=y', 'np 0f ae /5: xrstor M size=y', 'np 0f ae /6: xsaveopt M size=y',
  'np 0f ae /7: clflush M', '66 0f ae /6: clwb M', '66 0f ae /7: clflushopt M',
  'np 0f ae /5 reg: lfence', 'np 0f ae /6 reg: mfence', 'np 0f ae /7 reg: sfence',
  'f3 0f ae /0 reg m64: rdfsbase Ey', 'f3 0f ae /1 reg m64: rdgsbase Ey', 'f3 0f ae /2 reg m64: wrfsbase Ey', 'f3 0f ae /3 reg m64: wrgsbase Ey',
  '0f af: imul Gv,Ev', '0f b0: cmpxchg Eb,Gb lock', '0f b1: cmpxchg Ev,Gv lock', '0f b2: lss Gv,M', '0f b3: btr Ev,Gv lock',
  '0f b4: lfs Gv,M', '0f b5: lgs Gv,M', '0f b6: movzx Gv,Eb', '0f b7: movzx Gv,Ew', 'f3 0f b8: popcnt Gv,Ev', '0f b9: ud Gv,Ev',
  '0f ba /4: bt Ev,Ub', '0f ba /5: bts Ev,Ub lock', '0f ba /6: btr Ev,Ub lock', '0f ba /7: btc Ev,Ub lock', '0f bb: btc Ev,Gv lock',
  'np 66 f2 0f bc: bsf Gv,Ev', 'f3 0f bc: tzcnt Gv,Ev', 'np 66 f2 0f bd: bsr Gv,Ev', 'f3 0f bd: lzcnt Gv,Ev',
  '0f be: movsx Gv,Eb', '0f bf: movsx Gv,Ew', '0f c0: xadd Eb,Gb lock', '0f c1: xadd Ev,Gv lock', 'np 0f c3: movnti My,Gy',
  '0f c7 /1 w0: cmpxchg8b Mq lock', '0f c7 /1 w1: cmpxchg16b Mo lock',
  'np 0f c7 /3: xrstors M size=y', 'np 0f c7 /4: xsavec M size=y', 'np 0f c7 /5: xsaves M size=y',
  'np 0f c7 /6: vmptrld Mq', '66 0f c7 /6: vmclear Mq', 'f3 0f c7 /6: vmxon Mq', 'np 0f c7 /7: vmptrst Mq',
  'np 66 0f c7 /6 reg: rdrand Ev', 'np 66 0f c7 /7 reg: rdseed Ev', 'f3 0f c7 /7 reg: rdpid Ep',
  '0f c8+r: bswap Zv', '0f ff: ud Gv,Ev',

  '66 0f38 80: invept Gp,Mo size=p', '66 0f38 81: invvpid Gp,Mo size=p', '66 0f38 82: invpcid Gp,Mo size=p',
  'np 66 0f38 f0: movbe Gv,Mv', 'np 66 0f38 f1: movbe Mv,Gv', 'f2 0f38 f0: crc32 Gy,Eb', 'f2 0f38 f1: crc32 Gy,Ev',
  '66 0f38 f6: adcx Gy,Ey', 'f3 0f38 f6: adox Gy,Ey',
  // MOVDIR64B: the destination register holds an address of the address size in ES.
  '66 0f38 f8: movdir64b Gp,M size=6', 'np 0f38 f9: movdiri My,Gy',
] as const
