package childproc

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// guardScript keeps the numbers of groups and, when nobody can tell it any more
// because its parent is dead, kills them.
const guardScript = `trap '' HUP INT TERM
groups=' '
while read -r what group; do
	case $what in
	+) groups="$groups$group " ;;
	-) case $groups in *" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;; esac ;;
	esac
done
for group in $groups; do kill -s KILL -- "-$group"; done 2>/dev/null
`

// guardPatience is how long a guard that was stopped may hold up a start.
const guardPatience = time.Second

// guard is a shell that outlives this process for a moment, to kill the groups
// of its children: SIGKILL at a parent's death reaches only the child itself.
type guard struct {
	cmd *exec.Cmd
	to  *os.File
}

// newGuard starts one; where there is no shell there is none.
func newGuard() (*guard, error) {
	in, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "limpet-guard") //nolint:noctx // it has to outlive everything here
	cmd.Dir, cmd.Env, cmd.Stdin = "/", []string{}, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // no terminal's Ctrl-C
	if err := cmd.Start(); err != nil {
		_ = to.Close()
		return nil, err
	}
	return &guard{cmd, to}, nil
}

// tell adds (+) or removes (-) a group.
func (g *guard) tell(what string, group int) error {
	if err := g.to.SetWriteDeadline(time.Now().Add(guardPatience)); err != nil {
		return err
	}
	_, err := fmt.Fprintln(g.to, what, group)
	return err
}

// end ends a guard that has nothing to guard, or is of no use.
func (g *guard) end() {
	_ = g.cmd.Process.Kill() // it may have ended
	_ = g.cmd.Wait()
	_ = g.to.Close()
}
