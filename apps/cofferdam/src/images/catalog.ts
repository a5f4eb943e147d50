import type { DriverGroup } from '../initramfs/modules.ts'

/** A Debian suite that images come from. */
export type Suite = 'sid' | 'trixie' | 'bookworm'

/** How an image is found: by package name, so that the newest version is resolved at fetch time. */
export interface CatalogEntry {
  /** What the person types. */
  readonly name: string
  readonly kind: 'kernel' | 'firmware' | 'loader' | 'program'
  readonly suite: Suite
  /** The package to start from; a kernel's is a metapackage that depends on the newest one. */
  readonly package: string
  /** Dependencies to follow from there to the package that holds the file, one pattern per step. */
  readonly follow: readonly RegExp[]
  /** The file to keep, as a pattern over paths inside the package, and the name it is kept under. */
  readonly file: RegExp
  readonly keepAs: string
  readonly about: string
  /** Groups of drivers that a kernel is built without, as neither part nor module. */
  readonly without?: readonly DriverGroup[]
  /** Firmware that starts a kernel it is given, and looks for nothing to boot anywhere else. */
  readonly bootsKernelOnly?: boolean
}

// Debian up to trixie: linux-image-cloud-amd64 → linux-image-VERSION-cloud-amd64, which holds /boot/vmlinuz-VERSION.
// From 7.x on the last one is itself empty and depends on linux-binary-VERSION, which holds
// /usr/lib/modules/VERSION/vmlinuz.
const kernel = (name: string, suite: Suite, flavour: '' | 'cloud-', about: string): CatalogEntry => ({
  name,
  kind: 'kernel',
  suite,
  package: `linux-image-${flavour}amd64`,
  follow: [new RegExp(`^linux-image-\\d\\S*-${flavour}amd64$`), /^linux-binary-\d/],
  file: /^(boot\/vmlinuz-[^/]+|usr\/lib\/modules\/[^/]+\/vmlinuz)$/,
  keepAs: 'vmlinuz',
  about,
  // CONFIG_NET_9P and CONFIG_CRYPTO_DEV_SP_PSP are off in the cloud flavour, from 6.1 to 7.2
  ...(flavour === 'cloud-' && { without: ['9p', 'psp'] }),
})

const firmware = (name: string, packageName: string, file: RegExp, keepAs: string, about: string): CatalogEntry => ({
  name,
  kind: 'firmware',
  suite: 'sid',
  package: packageName,
  follow: [],
  file,
  keepAs,
  about,
})

const program = (name: string, file: RegExp, keepAs: string, about: string): CatalogEntry => ({
  name,
  kind: 'program',
  suite: 'sid',
  package: name,
  follow: [],
  file,
  keepAs,
  about,
})

/** Every image that `cofferdam images` knows. */
export const catalog: readonly CatalogEntry[] = [
  kernel('sid-cloud', 'sid', 'cloud-', 'newest cloud kernel of Debian unstable; the default'),
  kernel('trixie-cloud', 'trixie', 'cloud-', 'cloud kernel of Debian 13 (6.12)'),
  kernel('bookworm-cloud', 'bookworm', 'cloud-', 'cloud kernel of Debian 12 (6.1)'),
  kernel('sid-generic', 'sid', '', 'newest generic kernel of Debian unstable'),
  firmware('ovmf', 'ovmf-generic', /^usr\/share\/ovmf\/OVMF\.fd$/, 'OVMF.fd', 'UEFI firmware'),
  {
    ...firmware(
      'ovmf-amdsev', 'ovmf-amdsev', /^usr\/share\/ovmf\/OVMF\.amdsev\.fd$/, 'OVMF.amdsev.fd', 'the same for SEV-SNP',
    ),
    // Its platform looks for a kernel and for a GRUB inside of itself only (edk2, OvmfPkg/AmdSev and
    // PlatformBootManagerLibGrub), and Debian builds it with an empty file in GRUB's place.
    bootsKernelOnly: true,
  },
  firmware(
    'ovmf-inteltdx',
    'ovmf-inteltdx',
    /^usr\/share\/ovmf\/OVMF\.inteltdx(\.ms)?\.fd$/,
    'OVMF.inteltdx.fd',
    'the same for TDX',
  ),
  {
    name: 'grub-efi',
    kind: 'loader',
    suite: 'trixie',
    package: 'grub-efi-amd64-signed',
    follow: [],
    file: /^usr\/lib\/grub\/x86_64-efi-signed\/grubx64\.efi\.signed$/,
    keepAs: 'grubx64.efi',
    about: 'boot loader for disk images with an EFI system partition; reads /EFI/debian/grub.cfg there',
  },
  program('busybox-static', /^(usr\/)?bin\/busybox$/, 'busybox', 'userland of the default initramfs'),
  program('kexec-tools', /^(usr\/)?sbin\/kexec$/, 'kexec', 'loads a second kernel; dynamically linked'),
]

/** What a plain `cofferdam boot` needs. */
export const defaultImages: readonly string[] = ['sid-cloud', 'busybox-static']

/** The catalog's entry of that name. */
export const findEntry = (name: string): CatalogEntry | undefined => catalog.find((entry) => entry.name === name)
