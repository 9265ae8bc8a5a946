//! The name server that a machine finds at its metadata server's address, as at
//! Google. It knows the machines of its network; every other name it does not.

use std::net::Ipv4Addr;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, SimpleDnsError, TYPE};
use tokio::net::UdpSocket;

/// Seconds that an answer holds: a machine may be made anew elsewhere.
const LIFETIME: u32 = 5;
/// No question is longer, nor any answer to one name.
const LONGEST: usize = 512;

/// Answers what is asked at the socket, until it is dropped.
pub(super) async fn serve(socket: UdpSocket, resolve: impl Fn(&str) -> Option<Ipv4Addr> + Send) {
    let mut question = [0; LONGEST];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut question).await else { continue };
        // What is no question gets no answer.
        if let Ok(answer) = answer(&question[..length], &resolve) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn answer(question: &[u8], resolve: impl Fn(&str) -> Option<Ipv4Addr>) -> Result<Vec<u8>, SimpleDnsError> {
    let mut packet = Packet::parse(question)?.into_reply();
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.additional_records.clear();
    *packet.opt_mut() = None;
    for asked in &packet.questions.clone() {
        let name = asked.qname.to_string().to_ascii_lowercase();
        match resolve(name.trim_end_matches('.')) {
            // Such a name has no other record than this.
            Some(address) if asked.qtype == QTYPE::TYPE(TYPE::A) => packet.answers.push(ResourceRecord::new(
                asked.qname.clone(),
                CLASS::IN,
                LIFETIME,
                RData::A(A::from(address)),
            )),
            Some(_) => {}
            None => *packet.rcode_mut() = RCODE::NameError,
        }
    }
    packet.build_bytes_vec()
}

#[cfg(test)]
mod tests {
    use simple_dns::{Name, QCLASS, Question};

    use super::*;

    #[test]
    fn a_machines_name_has_an_address_of_version_4_and_others_do_not_exist() {
        let ours = |name: &str| (name == "a.z.c.p.internal").then_some(Ipv4Addr::new(10, 0, 0, 2));
        for (name, kind, rcode, answers) in [
            ("a.z.c.p.internal", TYPE::A, RCODE::NoError, 1),
            ("A.Z.c.p.internal", TYPE::A, RCODE::NoError, 1),
            ("a.z.c.p.internal", TYPE::AAAA, RCODE::NoError, 0),
            ("b.z.c.p.internal", TYPE::A, RCODE::NameError, 0),
            ("example.com", TYPE::AAAA, RCODE::NameError, 0),
        ] {
            let mut packet = Packet::new_query(7);
            let asked =
                Question::new(Name::new_unchecked(name), QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
            packet.questions.push(asked);
            let bytes = answer(&packet.build_bytes_vec().unwrap(), ours).unwrap();
            let said = Packet::parse(&bytes).unwrap();
            assert_eq!((said.id(), said.rcode(), said.answers.len()), (7, rcode, answers), "{name} {kind:?}");
        }
        assert!(answer(b"what?", ours).is_err());
    }
}
