"""A cold start: a machine with the guest kernel loaded, about to run a program."""

from __future__ import annotations

from qvisor import kernel
from qvisor._native import lib
from qvisor.document import document, new_generation
from qvisor.sandbox import Sandbox
from qvisor.spec import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qvisor.spec import SandboxSpec


def boot(
    spec: SandboxSpec,
    *,
    stdio: tuple[int, int, int] = (0, 1, 2),
    signals: int = -1,
    state: str = "",
    debug: bool = False,
) -> Sandbox:
    """A sandbox whose next `run` starts `spec`'s program; with `debug` the guest kernel's log goes to standard error.

    The guest sees nothing of `state`, quark's state directory.

    Raises:
        QuarkError: what is wrong with the request, the installation or the host.
    """
    check(spec)
    elf = kernel.load()
    generation = new_generation()
    about = document(generation, clone=False, args=list(spec.argv[1:]), env=spec.env)
    sandbox = Sandbox(spec, stdio, signals, state)
    try:
        sandbox.fill_comm(clone=False, trace=debug, document=about)
        sandbox.set_generation(generation)
        if debug:
            lib.qv_debug_fd(sandbox.vm, 2)
        sandbox.boot(elf)
    except BaseException:
        sandbox.close()
        raise
    return sandbox
