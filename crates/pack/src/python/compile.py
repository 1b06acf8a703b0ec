# Runs inside the image's own interpreter: compiles each listed source to a .pyc that never looks at its
# source again. argv: number of processes. /in/list: one line a source, "NUMBER PATH-IN-THE-IMAGE".
# /in/NUMBER is read, /out/NUMBER written; a source that does not compile gives no file.
import _imp, marshal, os, sys, warnings
from importlib.util import MAGIC_NUMBER

warnings.simplefilter("ignore")
sys.setrecursionlimit(10000)
jobs = int(sys.argv[1])
MAGIC = int.from_bytes(MAGIC_NUMBER, "little")
with open("/in/list", encoding="utf-8", errors="surrogateescape", newline="\n") as f:
    sources = [line.rstrip("\n").split(" ", 1) for line in f]


def work(share):
    for number, path in sources[share::jobs]:
        with open("/in/" + number, "rb") as f:
            text = f.read()
        try:
            code = compile(text, path, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            continue
        head = MAGIC_NUMBER + (1).to_bytes(4, "little") + _imp.source_hash(MAGIC, text)
        with open("/out/" + number, "xb") as f:
            f.write(head + marshal.dumps(code))


children = []
for share in range(1, jobs):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(share)
            code = 0
        finally:
            os._exit(code)
    children.append(child)
work(0)
for child in children:
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("a compiling process died")
