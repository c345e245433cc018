#!/bin/sh
# Writes what differs from replica to replica, then becomes the web server.
set -eu

cp /usr/share/www/* /srv/www/
printf '{"service": "web", "version": "%s", "replica": "%s"}\n' "$VERSION" "$(hostname)" > /srv/www/version.json

case "$DEFECT" in
exit)
    echo ok > /srv/www/healthz
    httpd -f -p 8080 -h /srv/www -c /etc/httpd.conf &
    sleep 3
    echo "web $VERSION: cannot load the catalogue, giving up" >&2
    exit 1
    ;;
unhealthy)
    echo "web $VERSION: the catalogue is not ready" >&2
    ;;
*)
    echo ok > /srv/www/healthz
    ;;
esac
exec httpd -f -p 8080 -h /srv/www -c /etc/httpd.conf
