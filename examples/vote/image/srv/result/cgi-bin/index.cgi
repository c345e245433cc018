#!/bin/sh
# GET /result/: the same for people, and which release and replica has answered.
if totals=$(timeout 5 wget -q -O - http://db:8080/cgi-bin/totals); then
    printf 'Content-Type: text/html\r\n\r\n'
    echo "<!doctype html><title>Result</title><h1>$totals</h1><p><small>result $VERSION on $(hostname)</small></p>"
else
    printf 'Status: 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\nthe database does not answer\n'
fi
