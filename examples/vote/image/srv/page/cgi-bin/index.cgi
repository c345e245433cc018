#!/bin/sh
# GET /: the page, with the totals as `result` has them now.
if ! totals=$(timeout 5 wget -q -O - http://result:8080/cgi-bin/totals); then
    printf 'Status: 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\nresult does not answer\n'
    exit
fi
printf 'Content-Type: text/html\r\n\r\n'
cat << HTML
<!doctype html>
<title>Vote</title>
<h1>Cats or dogs?</h1>
<form method="post" action="/cgi-bin/vote?cats"><button>Cats</button></form>
<form method="post" action="/cgi-bin/vote?dogs"><button>Dogs</button></form>
<p>$totals</p>
<p><small>page $VERSION on $(hostname)</small></p>
HTML
