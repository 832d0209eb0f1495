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
  const signed = { host: request.host, 'x-amz-date': now.toISOString().replace(/[-:]|\.\d+/g, '') };
  if (request.body) signed['content-type'] = 'application/json';
  if (key.sessionToken) signed['x-amz-security-token'] = key.sessionToken;
  const { host, ...headers } = signed; // the browser sends the host itself
  headers.Authorization = authorization({ ...request, headers: signed }, key, region, service);
  return headers;
}

/**
 * authorization is the field of that name for a request with all its headers, which are
 * signed: their names in small letters, x-amz-date among them, their values as they are sent.
 */
export function authorization({ method, path, query = '', body = '', headers }, key, region, forService) {
  const time = headers['x-amz-date'];
  const date = time.slice(0, 8);
  const scope = `${date}/${region}/${forService}/aws4_request`;
  const names = Object.keys(headers).sort();

  const canonical = [
    // Every part of the path is escaped once more than it is sent.
    method, path.split('/').map(escape).join('/'), query,
    ...names.map((name) => `${name}:${headers[name]}`), '',
    names.join(';'), digest(body),
  ].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', time, scope, digest(canonical)].join('\n');

  let signing = encoder.encode('AWS4' + key.secret);
  for (const part of scope.split('/')) signing = hmac(signing, encoder.encode(part));
  const signature = hex(hmac(signing, encoder.encode(toSign)));
  return `AWS4-HMAC-SHA256 Credential=${key.accessKey}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
}

const digest = (text) => hex(sha256(encoder.encode(text)));

/** escape percent-encodes all but RFC 3986's unreserved characters. */
export const escape = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
