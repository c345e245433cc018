#!/bin/sh
# Puts release and replica beside the products, then becomes the web server.
set -eu
mkdir -p /srv/www/api
{
    printf '{"service": "api", "version": "%s", "replica": "%s", "products": ' "$VERSION" "$(hostname)"
    cat /usr/share/products.json
    echo '}'
} > /srv/www/api/products.json
echo ok > /srv/www/healthz
exec httpd -f -p 8080 -h /srv/www -c /etc/httpd.conf
