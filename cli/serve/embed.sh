#!/bin/sh
# The page to a C file: embed.sh page.html > page_text.c
# With the hashes of its script and its style, each of which stands between lines of their own that hold its tags and nothing else.
set -eu
LC_ALL=C
export LC_ALL
page=${1:?usage: embed.sh PAGE}

# A browser hashes what is between the tags, the line ends behind the first one and before the last one too.
hash_of() { # tag
  [ "$(grep -c "^<$1>$" "$page")" = 1 ] && [ "$(grep -c "^</$1>$" "$page")" = 1 ] || { echo "embed.sh: $page: expected <$1> and </$1> once, on lines of their own" >&2; exit 1; }
  sum=$({ echo; sed -n "/^<$1>$/,/^<\/$1>$/p" "$page" | sed '1d;$d'; } | sha256sum)
  bytes=$(echo "${sum%% *}" | awk '{ for (i = 1; i < length($0); i += 2) {
    high = index("0123456789abcdef", substr($0, i, 1)) - 1; low = index("0123456789abcdef", substr($0, i + 1, 1)) - 1
    printf "\\%03o", 16 * high + low } }')
  printf "$bytes" | base64
}
script=$(hash_of script)
style=$(hash_of style)

echo '/* Made by cli/serve/embed.sh: the page. */'
echo '#include "cli/serve/page.h"'
echo
echo 'const char serve_page_text[] ='
sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/??/?\\?/g' -e 's/^/  "/' -e 's/$/\\n"/' "$page"
echo '  ;'
echo 'const size_t serve_page_bytes = sizeof serve_page_text - 1;'
echo "const char serve_page_script[] = \"$script\";"
echo "const char serve_page_style[] = \"$style\";"
