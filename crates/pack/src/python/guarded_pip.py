# Runs pip such that it can start no program but keyring. To resolve a dependency that is given by address and is
# no wheel, pip would run that package's build, whatever --only-binary says.
import os
import runpy
import sys

# pip asks these for a checkout, and would take an OSError for a missing program that the user should install.
CHECKOUT = ("git", "hg", "svn", "bzr", "brz")
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")


def refuse(event, arguments):
    if event in STARTS:
        program = os.fsdecode(arguments[0]) if arguments and arguments[0] else "a program"
        name = os.path.basename(program)
        if event != "subprocess.Popen" or name != "keyring":
            # Elsewhere pip does without a program that it cannot start.
            refusal = RuntimeError if name in CHECKOUT else PermissionError
            raise refusal(f"a dependency would run code to tell what it needs ({event} of {program})")


sys.addaudithook(refuse)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
