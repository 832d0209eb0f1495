// AWS Signature Version 4, as a client of the API signs. The server checks it by
// internal/sigv4.
//
// SIGV4: create-signed-request

import { sha256, hmac, hex } from './sha256.js';

const encoder = new TextEncoder();
const service = 'ivschat';

/**
 * sign returns the header fields that sign a request.
 *
 * request is {method, path, query, body, host}: path and query as they are sent, the
 * query's parts in order; key is {accessKey, secret, sessionToken}. now is a Date.
 */
export function sign(request, key, region, now) {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  const date = time.slice(0, 8);
  const scope = `${date}/${region}/${service}/aws4_request`;

  const signed = { host: request.host, 'x-amz-date': time };
  if (request.body) signed['content-type'] = 'application/json';
  if (key.sessionToken) signed['x-amz-security-token'] = key.sessionToken;
  const names = Object.keys(signed).sort();

  // Every part of the path is escaped once more than it is sent.
  const path = request.path.split('/').map(escape).join('/');
  const canonical = [
    request.method, path, request.query ?? '',
    ...names.map((name) => `${name}:${signed[name]}`), '',
    names.join(';'), digest(request.body ?? ''),
  ].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', time, scope, digest(canonical)].join('\n');

  let signing = encoder.encode('AWS4' + key.secret);
  for (const part of [date, region, service, 'aws4_request']) signing = hmac(signing, encoder.encode(part));
  const signature = hex(hmac(signing, encoder.encode(toSign)));

  const { host, ...headers } = signed; // the browser sends the host itself
  headers.Authorization = `AWS4-HMAC-SHA256 Credential=${key.accessKey}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return headers;
}

const digest = (text) => hex(sha256(encoder.encode(text)));

/** escape percent-encodes all but RFC 3986's unreserved characters. */
export const escape = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
