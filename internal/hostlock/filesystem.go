//go:build linux

package hostlock

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// networks are the file systems, by the number that statfs gives, that several
// machines may share or whose locks a program outside the kernel decides on.
// FUSE is refused as a whole: it cannot be told whether an sshfs is behind it.
var networks = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "nfs",
	unix.SMB_SUPER_MAGIC:   "smb",
	unix.SMB2_SUPER_MAGIC:  "smb2",
	unix.CIFS_SUPER_MAGIC:  "cifs",
	unix.NCP_SUPER_MAGIC:   "ncp",
	unix.AFS_SUPER_MAGIC:   "afs",
	unix.AFS_FS_MAGIC:      "afs",
	unix.CODA_SUPER_MAGIC:  "coda",
	unix.CEPH_SUPER_MAGIC:  "ceph",
	unix.V9FS_MAGIC:        "9p",
	unix.FUSE_SUPER_MAGIC:  "fuse: sshfs, virtiofs and others",
	unix.OCFS2_SUPER_MAGIC: "ocfs2",
	0x01161970:             "gfs2",
	0x0bd00bd0:             "lustre",
	0x47504653:             "gpfs",
	0x20030528:             "orangefs",
	0x19830326:             "beegfs",
	0xaad7aaea:             "panfs",
	0xbeefdead:             "snfs",
	0x786f4256:             "vboxsf",
	0xbacbacbc:             "vmhgfs",
	0x7c7c6673:             "prl_fs",
}

// filesystem is the number of the file system that an open file is on.
func filesystem(f *os.File) (uint32, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("look at the file system of %s: %w", f.Name(), err)
	}
	return uint32(st.Type), nil
}
