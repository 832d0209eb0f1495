// When a backlog is more than what is on its way. Nothing here knows of the page.

import { Sample } from './measures.js';

// How old records may be, in milliseconds: a few times what they wait for by default, to
// be shipped together.
const patience = { s3: 15 * 60_000 };
const patienceElsewhere = 60_000;

/** lateness reports whether records of an age should have been shipped to a kind of destination. */
export const lateness = (kind, age) => age > (patience[kind] ?? patienceElsewhere);

// Why a destination took nothing, by the metric that counts it.
const reasons = {
  denied: 'parlor_log_destination_access_denied_total',
  missing: 'parlor_log_destination_not_found_total',
  failed: 'parlor_log_destination_errors_total',
};
const label = 'logging_configuration';

/** Failures follows what keeps records from being shipped, by configuration. */
export class Failures {
  counts = new Map(); // by ARN: {shipped, reason: count …}
  why = new Map(); // by ARN: the last reason, until something is shipped

  /** add takes an answer of DescribeNode. */
  add(answer) {
    const sample = new Sample(answer);
    const shipped = sample.by('parlor_log_records_total', label);
    const grew = (key, count) => {
      const before = this.counts.get(key);
      this.counts.set(key, count);
      return before === undefined ? undefined : count !== before && count > 0; // below: counted anew
    };
    for (const [reason, metric] of Object.entries(reasons)) {
      for (const [arn, count] of sample.by(metric, label)) {
        // What failed before anybody looked may be over, if anything was shipped ever.
        if (grew(`${reason} ${arn}`, count) ?? (this.looked || !shipped.get(arn))) this.why.set(arn, reason);
      }
    }
    for (const [arn, count] of shipped) if (grew(arn, count)) this.why.delete(arn);
    this.looked = true;
  }

  /** of is why a configuration's records are not shipped: 'denied', 'missing', 'failed' or ''. */
  of(arn) {
    return this.why.get(arn) ?? '';
  }
}
