# Runs pip such that it can start no program but keyring. To resolve a dependency that is given by address and is
# no wheel, pip would run that package's build, whatever --only-binary says.
import os
import runpy
import sys

STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")


def refuse(event, arguments):
    if event in STARTS:
        program = os.fsdecode(arguments[0]) if arguments and arguments[0] else "a program"
        if event != "subprocess.Popen" or os.path.basename(program) != "keyring":
            raise PermissionError(f"a dependency would run code to tell what it needs ({event} of {program})")


sys.addaudithook(refuse)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
