#!/bin/sh
# A report of koine tune or koine load-test as a browser shows it, without a network, light and dark: it draws, in both, and asks for nothing. PAGE: the file.
# Exit 77 without a browser.
page=$(realpath "$1") || exit 1
browser=$(command -v chromium || command -v chromium-browser) || { echo "no chromium"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
shoot() { # scheme, file
  "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/user" --host-resolver-rules='MAP * ~NOTFOUND' --hide-scrollbars --window-size=1100,2400 \
    --blink-settings=preferredColorScheme="$1" --screenshot="$2" "file://$page" >"$tmp/log" 2>&1 || { cat "$tmp/log"; return 1; }
}
# 0 is dark, 1 light, of Chromium's own settings.
shoot 1 "$tmp/light.png" && shoot 0 "$tmp/dark.png" || exit 1
"$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/user" --dump-dom "file://$page" >"$tmp/dom" 2>/dev/null || exit 1
[ "$(grep -c '<svg' "$tmp/dom")" -ge 3 ] || { echo "expected three pictures"; exit 1; }
for shot in light dark; do
  [ "$(stat -c %s "$tmp/$shot.png")" -gt 20000 ] || { echo "$shot: nothing was drawn"; exit 1; }
done
cmp -s "$tmp/light.png" "$tmp/dark.png" && { echo "light and dark look the same"; exit 1; }
[ -z "$2" ] || cp "$tmp/light.png" "$2-light.png"; [ -z "$2" ] || cp "$tmp/dark.png" "$2-dark.png"
echo "the page draws in both schemes"
