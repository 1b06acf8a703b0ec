"""The program of a template: does the imports of an image's program, says so, and waits to be forked.

    python3 FLAGS... corral-warm.py script|module NAME [FURTHER MODULE...] -- COMMAND THAT THIS STANDS FOR...

Standard input is a socket. It is told `R` and the names of the environment's variables that the imports have looked at
(`R*`: all of them), or `E` and why this cannot be a template. Then the process reads one byte, and is stopped there for
good. What comes back from that read is a fork in a container: descriptor 3 holds what it is to run, 4 takes the number
of the process that will run it.
"""

import gc
import os
import sys


class _Watched(type(os.environ)):
    """The environment, with a memory of what was done to it."""

    read = set()
    written = {}
    whole = False

    def __getitem__(self, key):
        _Watched.read.add(os.fsdecode(key))
        return super().__getitem__(key)

    def __iter__(self):
        _Watched.whole = True
        return super().__iter__()

    def __setitem__(self, key, value):
        _Watched.written[os.fsencode(key)] = os.fsencode(value)
        super().__setitem__(key, value)

    def __delitem__(self, key):
        _Watched.written[os.fsencode(key)] = None
        super().__delitem__(key)


class _Unfit(Exception):
    """Why this cannot be a template."""


def _threads():
    """The names of the threads beside this one, after a fork: who knows of forks has put its threads away by then."""
    if len(os.listdir("/proc/self/task")) > 1:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read().strip())
        except OSError:
            pass
    known = sys.modules.get("threading")
    python = [thread.name for thread in known.enumerate() if thread is not known.main_thread()] if known else []
    return python + names[1 + len(python):]


def _import(what, act):
    act()
    threads = _threads()
    if threads:
        raise _Unfit(
            f"{what} starts threads when it is imported ({', '.join(threads)}), and a process with threads cannot be "
            "forked: start them when the program runs"
        )


def _imports(body, scope, path):
    """Does the import statements of a program's top level, and nothing else of it."""
    import ast

    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            code = compile(ast.Module([node], []), path, "exec")
            _import(ast.unparse(node), lambda: exec(code, scope))
        elif isinstance(node, ast.Try):
            try:
                _imports(node.body, scope, path)
            except ImportError:
                pass
        elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            _imports(node.body, scope, path)


def _load(kind, name):
    """The program's code, its module's attributes, and its argument zero."""
    if kind == "script":
        import tokenize

        sys.path[0] = os.path.dirname(os.path.realpath(name))
        with tokenize.open(name) as file:
            source = file.read()
        attributes = {"__file__": name, "__spec__": None, "__package__": None, "__loader__": None, "__cached__": None}
        return source, attributes, name
    import importlib.util

    sys.path[0] = os.getcwd()
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    source = spec.loader.get_source(spec.name) if spec is not None and spec.loader is not None else None
    if source is None:
        raise _Unfit(f"no source of the module {name} was found in the image")
    attributes = {
        "__file__": spec.origin,
        "__spec__": spec,
        "__package__": spec.parent,
        "__loader__": spec.loader,
        "__cached__": spec.cached,
    }
    return source, attributes, spec.origin


def _prepare(kind, name, *further):
    import ast

    source, attributes, zero = _load(kind, name)
    scope = {"__name__": "__template__", "__builtins__": __builtins__, **attributes}
    _imports(ast.parse(source, zero).body, scope, zero)
    for module in further:
        _import(f"import {module}", lambda: __import__(module))
    return compile(source, zero, "exec", dont_inherit=True), attributes, zero


def _keep():
    """Keeps what the imports made from being freed one by one at a program's end, which would write to all of it, and
    so copy it. Buffers are still flushed; no `__del__` is promised then by Python either."""
    import atexit
    import io

    kept = gc.get_objects()
    files = [thing for thing in kept if issubclass(type(thing), io.IOBase)]

    def flush():
        for file in files:
            try:
                file.flush()
            except (OSError, ValueError):
                pass

    atexit.register(flush)
    # It holds itself, and what is frozen is never looked at.
    kept.append(kept)
    gc.freeze()


def _job():
    """Waits. Comes back in a container: its directory, its arguments, its environment."""
    text = os.read(0, 1)
    while piece := os.read(3, 1 << 16):
        text += piece
    os.close(3)
    workdir, count, *words = text.split(b"\0")[:-1]
    return workdir, words[: int(count)], words[int(count) :]


def _become(job, zero):
    workdir, arguments, environment = job
    program = os.fork()
    if program:
        os.write(4, b"%d\n" % program)
        os._exit(0)
    os.close(4)
    os.setsid()
    os.environ.clear()
    for entry in environment:
        name, _, value = entry.partition(b"=")
        os.environb[name] = value
    for name, value in _Watched.written.items():
        if value is not None:
            os.environb[name] = value
        else:
            os.environb.pop(name, None)
    try:
        os.chdir(workdir)
    except OSError as error:
        os.write(2, f"corral: cannot enter the working directory: {error}\n".encode())
        os._exit(126)
    sys.argv[:] = [zero, *map(os.fsdecode, arguments)]
    if kind == "module":
        sys.path[0] = os.getcwd()
    sys.stdin = sys.__stdin__ = open(
        0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False
    )
    # What the kernel gives is new in each process, and `random` sees to itself when a process forks.
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _run(code, attributes):
    module = type(sys)("__main__")
    module.__dict__.update(attributes, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


kind = sys.argv[1]
try:
    plain = type(os.environ)
    os.environ.__class__ = os.environb.__class__ = _Watched
    try:
        code, attributes, zero = _prepare(*sys.argv[1 : sys.argv.index("--")])
    finally:
        os.environ.__class__ = os.environb.__class__ = plain
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    _keep()
    seen = "\0".join(sorted(_Watched.read))
    os.write(0, b"R*" if _Watched.whole or len(seen) > 30000 else b"R" + os.fsencode(seen))
except BaseException as error:
    import signal
    import traceback

    # Whoever wants to know asks soon.
    signal.alarm(30)
    text = str(error) if isinstance(error, _Unfit) else "".join(traceback.format_exception_only(type(error), error))
    os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    os.write(0, b"E" + text.strip().encode("utf-8", "replace")[:900])
    os.read(0, 1)
    os._exit(1)
_become(_job(), zero)
_run(code, attributes)
