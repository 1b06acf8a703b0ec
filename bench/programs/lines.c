/* Writes LINES lines of 100 bytes, each with its number: `lines LINES`. Through stdio, as programs do. */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
	long lines = count > 1 ? atol(words[1]) : 0;
	for (long line = 0; line < lines; line++)
		if (printf("%09ld %089ld\n", line, 0L) < 0)
			return 1;
	return fflush(stdout) ? 1 : 0;
}
